-------------------------------- MODULE Curp --------------------------------
(* CURP's fast path on a Raft backend, as PROTOCOL.md has it.                *)
(*                                                                           *)
(* One action is one step of one node or of a client.  Here an election is   *)
(* one step, an index is applied by the step that commits it, and all that a *)
(* step writes is durable when it ends, unless a rule that says so is        *)
(* switched off.  CurpAsync.tla takes these steps apart: one action is one   *)
(* atomic handler there, disks and messages are slow, and the names are      *)
(* those of the events that the implementation traces.                       *)
(*                                                                           *)
(* Invariants, at the end: election safety, log matching, state machine      *)
(* safety, leader completeness; every completed command is in the log of     *)
(* each later leader and keeps the result its client was told; real-time     *)
(* order; exactly once; reads see what completed before they began; pools    *)
(* commute; and DoneRecoverable, which asks at every step what any election  *)
(* that could happen now would recover.                                      *)
(*                                                                           *)
(* A rule is switched off by planting its bug: Bugs holds names from         *)
(* BUGS.md.  Bugs = {} is the protocol.                                      *)
(*                                                                           *)
(* Not here on purpose: leases (Lease.tla), values, revisions, watches,      *)
(* storage formats, timers, liveness, pre-vote, log compaction.  What is     *)
(* abstracted, and why that loses nothing, is in README.md.                  *)
EXTENDS Integers, Sequences, FiniteSets

CONSTANTS
  Node, Cmd, Client, Read,  \* model values; a command is one ProposeId
  Nil,
  Voters0,                  \* the first configuration's voters
  Conflict(_, _),           \* whether two different commands conflict
  Sees(_, _),               \* whether a read observes what a command changes
  OpOf,                     \* the operation a command asks for (differs from
                            \* the command only where a retry takes a new id)
  ClientOf, SeqNo,          \* the two halves of a ProposeId
  MaxTerm, MaxCrash,        \* bounds
  MaxConfig,                \* bound on configuration entries in one log
  Slow,                     \* commands whose footprint depends on the state: never recorded, never fast
  Own, MaxOwn,              \* a leader's own commands, all by one name; bound on them in one log
  Sessions, Snapshots,      \* features
  Bugs                      \* rules switched off

BugNames == {
  "super-quorum-majority", "super-quorum-even", "recover-one-less", "recover-one-more",
  "record-no-term", "record-no-config", "volatile-witness", "repaired-node-votes",
  "learner-counts", "ignore-uncommitted-pool", "leader-ignores-own-pool",
  "leader-skips-own-pool", "fast-before-noop", "pool-drop-at-append",
  "pool-drop-at-truncate", "pool-clear-at-snapshot", "gc-by-client-expiry",
  "recover-no-dedup", "apply-no-dedup", "retry-new-id", "session-advance-on-fast",
  "session-end-commutes", "own-commutes", "slow-is-fast", "config-version-number", "config-not-rolled-back",
  "config-two-at-once", "config-before-noop", "config-commutes", "vote-not-persisted",
  "vote-uptodate-and", "commit-old-term", "append-truncates-always",
  "commit-moves-back", "stale-append-reply", "deposed-leader-appends",
  "ack-before-fsync", "read-local-leader", "read-before-noop",
  "read-index-is-commit", "read-index-uncommitted", "read-not-applied",
  "own-vote-not-persisted", "witness-ack-before-sync", "apply-before-persist",
  "removed-leader-counts", "snapshot-stale-term", "rejoin-keeps-tail", "install-cuts-tail" }
ASSUME Bugs \subseteq BugNames /\ Voters0 \subseteq Node /\ Slow \subseteq Cmd
Bug(b) == b \in Bugs

VARIABLES
  \* per node; commit, votes, match, barrier and a role other than follower
  \* are volatile, the rest is durable
  term, vote,     \* current term; whom the node voted for in it, or Nil
  role,           \* "F" follower, "C" candidate, "L" leader, "D" down, "X" gone for ever
  log,            \* sequence of [t, k, v, cfg, lrn, fi]
  commit, applied,
  cfg,            \* [ver, voters, learners]: the latest configuration in the node's log
  pool,           \* spec pool: commands accepted and not applied
  votes,          \* candidate: set of [v, pool], the votes granted to it
  match,          \* leader: highest index acknowledged by each node
  barrier,        \* leader: index to be applied before the fast path opens; 0: open
  \* clients and network; a message once sent can be received at any later time
  prop,           \* commands sent to all nodes
  pre,            \* conflicting commands that were done when c was first sent
  fi,             \* first incomplete sequence number that c carries
  er,             \* execution results: [c, t, n, ver, voters, res]
  acks,           \* accepted Records: [c, t, n, ver]
  done,           \* [how, t, res]; how: "no", "fast", "sync"
  reads,          \* [st, n, t, idx, acks, pre, saw]
  crashes         \* number of crashes so far

raft   == <<term, vote, role, log, commit, applied, cfg>>
lead   == <<votes, match, barrier>>
client == <<prop, pre, fi, done>>
vars   == <<raft, pool, lead, client, er, acks, reads, crashes>>

(* ------------------------------- quorums -------------------------------- *)
Max(S)      == CHOOSE x \in S : \A y \in S : y <= x
Min2(a, b)  == IF a < b THEN a ELSE b
Quorum(n)   == (n \div 2) + 1
Recover(n)  == (Quorum(n) \div 2) + 1 + (IF Bug("recover-one-more") THEN 1 ELSE 0)
                                      - (IF Bug("recover-one-less") THEN 1 ELSE 0)
Super(n)    == IF Bug("super-quorum-majority") THEN Quorum(n)
               ELSE n - Quorum(n) + (Quorum(n) \div 2) + 1
                    - (IF Bug("super-quorum-even") /\ n % 2 = 0 THEN 1 ELSE 0)
Quorums(V)  == {q \in SUBSET V : Cardinality(q) = Quorum(Cardinality(V))}

(* ------------------- logs, sessions, results: functions of a log --------- *)
Entry(t, k, v)  == [t |-> t, k |-> k, v |-> v, cfg |-> {}, lrn |-> {}, fi |-> 0]
Initial         == [ver |-> <<0, 0>>, voters |-> Voters0, learners |-> {}]
Conf(a, b)      == a # b /\ Conflict(a, b)
Prefix(s, i)    == SubSeq(s, 1, i)
LastT(s)        == IF s = <<>> THEN 0 ELSE s[Len(s)].t
IsCmd(s, i)     == s[i].k = "cmd"
Cmds(s)         == {s[i].v : i \in {j \in 1..Len(s) : IsCmd(s, j)}}
\* the session of client cl lives after log s
Live(s, cl)     == Sessions =>
                     LET I == {i \in 1..Len(s) : s[i].k \in {"begin", "end"} /\ s[i].v = cl}
                     IN I # {} /\ s[Max(I)].k = "begin"
Ended(s, cl)    == Sessions /\ \E i \in 1..Len(s) : s[i].k = "end" /\ s[i].v = cl
\* the client's first incomplete number after log s
FirstInc(s, cl) == IF ~Sessions THEN 0
                   ELSE Max({0} \cup {s[i].fi : i \in {j \in 1..Len(s) :
                                         IsCmd(s, j) /\ ClientOf[s[j].v] = cl}})
\* entry i takes effect when applied: not an id applied before, session alive, not
\* below first incomplete
EffAt(s, i)     == /\ IsCmd(s, i)
                   /\ \/ Bug("apply-no-dedup")
                      \/ \A j \in 1..(i - 1) : ~(IsCmd(s, j) /\ s[j].v = s[i].v)
                   /\ Sessions => /\ Live(Prefix(s, i - 1), ClientOf[s[i].v])
                                  /\ SeqNo[s[i].v] >= FirstInc(Prefix(s, i - 1), ClientOf[s[i].v])
EffIdx(s)       == {i \in 1..Len(s) : EffAt(s, i)}
Eff(s)          == {s[i].v : i \in EffIdx(s)}
Pos(s, c)       == CHOOSE i \in EffIdx(s) : s[i].v = c /\ \A j \in EffIdx(s) : s[j].v = c => i <= j
\* what c observes when executed after s: the last command it conflicts with; a leader's own
\* conflicts with all
Obs(s, c)       == LET I == {i \in 1..Len(s) : \/ IsCmd(s, i) /\ Conf(s[i].v, c) /\ EffAt(s, i)
                                             \/ s[i].k = "own"}
                   IN IF I = {} THEN Nil ELSE IF s[Max(I)].k = "own" THEN Own ELSE s[Max(I)].v
\* c took effect in log s
Took(s, c)      == \E i \in 1..Len(s) : s[i].v = c /\ EffAt(s, i)
Res(s, c)       == Obs(Prefix(s, Pos(s, c) - 1), c)
Applied(n)      == Prefix(log[n], applied[n])
Committed(n)    == Prefix(log[n], commit[n])
\* the uncommitted pool: in the log and not applied
Unapplied(n)    == SubSeq(log[n], applied[n] + 1, Len(log[n]))

\* the latest configuration in a log, versioned by (term, index) of its entry
CfgOf(s) ==
    LET I == {i \in 1..Len(s) : s[i].k = "config"}
    IN IF I = {} THEN Initial
       ELSE [ver |-> IF Bug("config-version-number") THEN <<0, Cardinality(I)>>
                     ELSE <<s[Max(I)].t, Max(I)>>,
             voters |-> s[Max(I)].cfg, learners |-> s[Max(I)].lrn]
\* set the log of n; its configuration follows
SetLog(n, s) ==
    /\ log' = [log EXCEPT ![n] = s]
    /\ cfg' = [cfg EXCEPT ![n] =
                 IF Bug("config-not-rolled-back") /\ \A i \in 1..Len(s) : s[i].k = "config" =>
                      i <= Len(log[n]) /\ log[n][i] = s[i]
                 THEN @ ELSE CfgOf(s)]

\* the session table of n covers c: c may leave the pool, and is never taken in again
Covers(n, c) == \/ Took(Applied(n), c)
                \/ Sessions /\ SeqNo[c] < FirstInc(Applied(n), ClientOf[c])
                \/ Ended(Applied(n), ClientOf[c])
\* n would serve c: session known and not below first incomplete
Known(n, c)  == Sessions => /\ Live(Applied(n), ClientOf[c])
                            /\ SeqNo[c] >= FirstInc(Applied(n), ClientOf[c])

\* n may stand for election: a voter of its configuration, or of the one before, as long as it does
\* not know its own to be committed (else a leader that appended its own removal could be the only
\* one with an electable log, and nobody would ever lead).  Outside its configuration it counts
\* neither its own vote nor its own pool.
Stands(n) == \/ n \in cfg[n].voters
             \/ LET I == {i \in 1..Len(log[n]) : log[n][i].k = "config"}
                IN /\ I # {} /\ Max(I) > commit[n] /\ ~Bug("config-not-rolled-back")
                   /\ n \in CfgOf(Prefix(log[n], Max(I) - 1)).voters
\* those that could make n the leader
Electorates(n) == IF ~Stands(n) THEN {}
                  ELSE {q \in Quorums(cfg[n].voters) : n \in cfg[n].voters => n \in q}

NoMatch         == [m \in Node |-> 0]
ResetLead(n)    == /\ votes' = [votes EXCEPT ![n] = {}]
                   /\ match' = IF Bug("stale-append-reply") THEN match
                               ELSE [match EXCEPT ![n] = NoMatch]
                   /\ barrier' = [barrier EXCEPT ![n] = 0]
Up(n)           == role[n] \notin {"D", "X"}

InitAs(x) ==               \* every node is x
    /\ term = [n \in Node |-> 0]    /\ vote = [n \in Node |-> Nil]
    /\ role = [n \in Node |-> x]  /\ log = [n \in Node |-> <<>>]
    /\ commit = [n \in Node |-> 0]  /\ applied = [n \in Node |-> 0]
    /\ cfg = [n \in Node |-> Initial]
    /\ pool = [n \in Node |-> {}]   /\ votes = [n \in Node |-> {}]
    /\ match = [n \in Node |-> NoMatch] /\ barrier = [n \in Node |-> 0]
    /\ prop = {} /\ pre = [c \in Cmd |-> {}] /\ fi = [c \in Cmd |-> 0]
    /\ er = {} /\ acks = {}
    /\ done = [c \in Cmd |-> [how |-> "no", t |-> 0, res |-> Nil]]
    /\ reads = [r \in Read |-> [st |-> "idle", n |-> Nil, t |-> 0, idx |-> 0,
                                acks |-> {}, pre |-> {}, saw |-> {}]]
    /\ crashes = 0
Init == InitAs("F")

(* ------------------------------- clients -------------------------------- *)
Done(c)   == done[c].how # "no"
Synced(c) == done[c].how = "sync"
\* a client drops further accepts and ERs of what it has completed
Answered(c) == /\ er' = {e \in er : e.c # c}
               /\ acks' = {a \in acks : a.c # c}

\* The client sends c to every node; a retry is the same message.  It acknowledges
\* only what lies below the first number whose SYNCED result it lacks.
Propose(c) ==
    /\ c \notin prop
    /\ \A d \in prop : OpOf[d] = OpOf[c] => Bug("retry-new-id")
    /\ Sessions => \A d \in Cmd : ClientOf[d] = ClientOf[c] /\ SeqNo[d] < SeqNo[c] => d \in prop
    /\ prop' = prop \cup {c}
    /\ pre' = [pre EXCEPT ![c] = {d \in Cmd : Done(d) /\ Conf(c, d)}]
    /\ fi' = [fi EXCEPT ![c] =
                IF ~Sessions THEN 0
                ELSE Max({k \in 1..SeqNo[c] : \A d \in Cmd :
                            ClientOf[d] = ClientOf[c] /\ SeqNo[d] < k
                              => IF Bug("session-advance-on-fast") THEN Done(d) ELSE Synced(d)})]
    /\ UNCHANGED <<raft, pool, lead, done, er, acks, reads, crashes>>

\* The leader's ER and the accepts of distinct voters, all of one term and one
\* configuration, make a super quorum.
FastComplete(c) ==
    /\ ~Done(c)
    /\ \E e \in {x \in er : x.c = c} :
         LET A == {n \in Node : \E a \in acks :
                      /\ a.c = c /\ a.n = n
                      /\ Bug("record-no-term") \/ a.t = e.t
                      /\ Bug("record-no-config") \/ a.ver = e.ver}
             V == IF Bug("learner-counts") THEN Node ELSE e.voters
         IN /\ Cardinality((A \cup {e.n}) \cap V) >= Super(Cardinality(e.voters))
            /\ done' = [done EXCEPT ![c] = [how |-> "fast", t |-> e.t, res |-> e.res]]
    /\ Answered(c)
    /\ UNCHANGED <<raft, pool, lead, prop, pre, fi, reads, crashes>>

\* A leader answers ASR once it has applied c.  After a fast answer the synced one
\* matters only to sessions.
SyncedComplete(c) ==
    /\ ~Done(c) \/ (Sessions /\ ~Synced(c))
    /\ \E n \in Node :
         /\ role[n] = "L" /\ c \in Eff(Applied(n))
         /\ done' = [done EXCEPT ![c] = [how |-> "sync", t |-> IF Done(c) THEN @.t ELSE term[n],
                                         res |-> Res(Applied(n), c)]]
    /\ Answered(c)
    /\ UNCHANGED <<raft, pool, lead, prop, pre, fi, reads, crashes>>

(* ----------------------------- propose path ----------------------------- *)
\* The entries a proposal must wait for: a command that conflicts, a membership
\* change, the shutdown, a command of the leader's own, an end of its client's session.
Blocks(e, c) == \/ e.k = "cmd" /\ Conf(e.v, c)
                \/ e.k = "config" /\ ~Bug("config-commutes")
                \/ e.k = "shut"
                \/ e.k = "own" /\ ~Bug("own-commutes")
                \/ e.k = "end" /\ e.v = ClientOf[c] /\ ~Bug("session-end-commutes")
\* a leader must not answer c before commit
Blocked(n, c) ==
    \/ c \in Slow /\ ~Bug("slow-is-fast")
    \/ barrier[n] > 0 /\ ~Bug("fast-before-noop")
    \/ role[n] # "L"
    \/ \E d \in pool[n] : Conf(c, d) /\ ~Bug("leader-ignores-own-pool")
    \/ \E i \in 1..Len(Unapplied(n)) : Blocks(Unapplied(n)[i], c) /\ ~Bug("ignore-uncommitted-pool")
LeaderPropose(n, c) ==
    /\ c \in prop /\ Known(n, c)
    /\ role[n] = "L" \/ (Bug("deposed-leader-appends") /\ role[n] = "F" /\ LastT(log[n]) > 0)
    /\ c \notin Cmds(log[n])                     \* its own log and session table: never twice
    /\ IF Blocked(n, c) THEN UNCHANGED <<pool, er>>  \* answers "conflict"
          ELSE /\ pool' = IF Bug("leader-skips-own-pool") THEN pool
                          ELSE [pool EXCEPT ![n] = @ \cup {c}]
               /\ er' = IF Done(c) THEN er
                         ELSE er \cup {[c |-> c, t |-> term[n], n |-> n, ver |-> cfg[n].ver,
                                        voters |-> cfg[n].voters, res |-> Obs(Applied(n), c)]}
    /\ SetLog(n, Append(log[n], [Entry(term[n], "cmd", c) EXCEPT !.fi = fi[c]]))
    /\ UNCHANGED <<term, vote, role, commit, applied, lead, client, acks, reads, crashes>>

\* A voter other than the leader accepts a Record of its own term and configuration.
WitnessRecord(n, c) ==
    /\ c \in prop /\ role[n] \in {"F", "C"} /\ Known(n, c)
    /\ c \notin Slow \/ Bug("slow-is-fast")
    /\ n \in cfg[n].voters \/ Bug("learner-counts")
    /\ term[n] > 0 /\ ~Covers(n, c)
    /\ ~ \E d \in pool[n] : Conf(c, d)
    /\ LET a == [c |-> c, t |-> term[n], n |-> n, ver |-> cfg[n].ver]
       IN /\ c \notin pool[n] \/ (~Done(c) /\ a \notin acks)
          /\ acks' = IF Done(c) THEN acks ELSE acks \cup {a}
    /\ pool' = [pool EXCEPT ![n] = @ \cup {c}]
    /\ UNCHANGED <<raft, lead, client, er, reads, crashes>>

\* The one exit from a pool: the node's session table holds the command as applied.
PoolDrop(n, c) ==
    /\ Up(n) /\ c \in pool[n]
    /\ \/ Covers(n, c)
       \/ Bug("pool-drop-at-append") /\ c \in Cmds(log[n])
       \/ Bug("gc-by-client-expiry")
    /\ pool' = [pool EXCEPT ![n] = @ \ {c}]
    /\ UNCHANGED <<raft, lead, client, er, acks, reads, crashes>>

(* ------------------------- replication (Raft) --------------------------- *)
\* Entry k reaches n (a batch is several such steps, a heartbeat delivers an entry
\* again) and the answer reaches l.  commit travels with it.
AcceptEntries(n, l, k) ==
    /\ n # l /\ role[l] = "L" /\ role[n] \in {"F", "C"} /\ term[n] = term[l]
    /\ k \in 1..Len(log[l]) /\ Len(log[n]) >= k - 1
    /\ k > 1 => log[n][k - 1].t = log[l][k - 1].t
    /\ LET same == Len(log[n]) >= k /\ log[n][k].t = log[l][k].t
           new  == IF same /\ ~Bug("append-truncates-always") THEN log[n] ELSE Prefix(log[l], k)
           seen == Min2(commit[l], k)
           com  == IF Bug("commit-moves-back") THEN seen ELSE Max({commit[n], seen})
       IN /\ SetLog(n, new)
          /\ pool' = IF Bug("pool-drop-at-truncate")
                     THEN [pool EXCEPT ![n] = @ \ (Cmds(log[n]) \ Cmds(new))] ELSE pool
          /\ commit' = [commit EXCEPT ![n] = com]
          /\ applied' = [applied EXCEPT ![n] = Max({@, com})]
          /\ match' = [match EXCEPT ![l][n] = Max({@, k})]
          /\ <<log', commit', match'>> # <<log, commit, match>>
    /\ role' = [role EXCEPT ![n] = "F"]
    /\ votes' = [votes EXCEPT ![n] = {}]
    /\ UNCHANGED <<term, vote, barrier, client, er, acks, reads, crashes>>

\* Who has n's log up to k, as far as n counts them: voters, itself among them unless its
\* latest configuration removed it.
Having(n, k) == {m \in cfg[n].voters : m = n \/ match[n][m] >= k}
                  \cup (IF Bug("removed-leader-counts") THEN {n} ELSE {})
\* The leader commits the last entry of its own term that a quorum acknowledged.
AdvanceCommit(n) ==
    /\ role[n] = "L"
    /\ LET K == {k \in (commit[n] + 1)..Len(log[n]) :
                   /\ log[n][k].t = term[n] \/ Bug("commit-old-term")
                   /\ Cardinality(Having(n, k)) >= Quorum(Cardinality(cfg[n].voters))}
       IN /\ K # {}
          /\ commit' = [commit EXCEPT ![n] = Max(K)]
          /\ applied' = [applied EXCEPT ![n] = Max(K)]
          /\ barrier' = [barrier EXCEPT ![n] = IF Max(K) >= @ THEN 0 ELSE @]
    /\ UNCHANGED <<term, vote, role, log, cfg, pool, votes, match, client, er, acks, reads, crashes>>

\* The log of n once it has the state after P, the first entries of a leader's log: what it
\* has beyond them stays only if it has their last one.
Installed(n, P) ==
    LET a    == Len(P)
        keep == Len(log[n]) >= a /\ log[n][a].t = P[a].t
    IN IF keep /\ ~Bug("install-cuts-tail") THEN log[n]
       ELSE IF ~keep /\ Bug("rejoin-keeps-tail") THEN P \o SubSeq(log[n], a + 1, Len(log[n]))
       ELSE P
\* A snapshot of l's applied state replaces what n has; pools lose exactly the ids
\* that the snapshot's session table covers.
InstallSnapshot(n, l) ==
    /\ Snapshots /\ n # l /\ role[l] = "L" /\ role[n] \in {"F", "C"}
    /\ term[n] = term[l] \/ (Bug("snapshot-stale-term") /\ term[n] > term[l])
    /\ applied[l] > applied[n]
    /\ LET a == applied[l]
       IN /\ SetLog(n, Installed(n, Prefix(log[l], a)))
          /\ commit' = [commit EXCEPT ![n] = Max({@, a})]
          /\ applied' = [applied EXCEPT ![n] = a]
          /\ pool' = [pool EXCEPT ![n] = IF Bug("pool-clear-at-snapshot") THEN {}
                                         ELSE {c \in @ : ~Covers(l, c)}]
    /\ role' = [role EXCEPT ![n] = "F"]
    /\ votes' = [votes EXCEPT ![n] = {}]
    /\ UNCHANGED <<term, vote, match, barrier, client, er, acks, reads, crashes>>

(* ------------------------ elections and recovery ------------------------ *)
UpToDate(n, m) ==         \* the log of n against that of m
    IF Bug("vote-uptodate-and")
    THEN LastT(log[n]) >= LastT(log[m]) \/ Len(log[n]) >= Len(log[m])
    ELSE \/ LastT(log[n]) > LastT(log[m])
         \/ LastT(log[n]) = LastT(log[m]) /\ Len(log[n]) >= Len(log[m])
\* ids in at least Recover pools, of V = pools of exactly a quorum; n's log and
\* session table are skipped
Counted(n, P) ==
    {c \in Cmd : Cardinality({v \in P : c \in v.pool}) >= Recover(Cardinality(cfg[n].voters))}
Recovered(n, P) ==
    Counted(n, P) \ (IF Bug("recover-no-dedup") THEN Cmds(Unapplied(n)) ELSE Cmds(log[n]))
PoolsOf(q)    == {[v |-> m, pool |-> pool[m]] : m \in q}
Orders(S)     == {f \in [1..Cardinality(S) -> S] : \A i, j \in DOMAIN f : f[i] = f[j] => i = j}
Refill(t, s)  == [i \in DOMAIN s |-> [Entry(t, "cmd", s[i]) EXCEPT !.fi = fi[s[i]]]]
\* Adopt the higher term of some message; a leader or candidate steps down.
UpdateTerm(n) ==
    /\ Up(n)
    /\ \E m \in Node :
         /\ term[m] > term[n]
         /\ term' = [term EXCEPT ![n] = term[m]]
    /\ vote' = [vote EXCEPT ![n] = Nil]
    /\ role' = [role EXCEPT ![n] = "F"]
    /\ ResetLead(n)
    /\ UNCHANGED <<log, commit, applied, cfg, pool, client, er, acks, reads, crashes>>

\* n stands for election, a quorum votes for it, and it leads: a no-op, then the
\* recovered commands, in some order.
Elect(n) ==
    /\ Up(n)
    /\ \E q \in Electorates(n) :
         LET them == q \cup {n}
             t == Max({term[m] : m \in them}) + 1
             R == Recovered(n, PoolsOf(q))
         IN /\ t <= MaxTerm
            /\ \A m \in q : Up(m) /\ UpToDate(n, m)
            /\ term' = [m \in Node |-> IF m \in them THEN t ELSE term[m]]
            /\ role' = [m \in Node |-> IF m = n THEN "L" ELSE IF m \in q THEN "F" ELSE role[m]]
            /\ match' = IF Bug("stale-append-reply") THEN match
                        ELSE [m \in Node |-> IF m \in them THEN NoMatch ELSE match[m]]
            /\ \E s \in Orders(R) :
                 /\ SetLog(n, log[n] \o <<Entry(t, "noop", Nil)>>
                                     \o Refill(t, s))
                 /\ barrier' = [m \in Node |-> IF m = n THEN Len(log'[n])
                                               ELSE IF m \in q THEN 0 ELSE barrier[m]]
    /\ UNCHANGED <<vote, commit, applied, pool, votes, client, er, acks, reads, crashes>>

(* --------------------------- crash and restart -------------------------- *)
\* What is durable stays.  A log tail that was acknowledged before its sync is lost
\* from j + 1 on ("ack-before-fsync").
Reboot(n) ==
    /\ Up(n) /\ crashes < MaxCrash /\ crashes' = crashes + 1
    /\ role' = [role EXCEPT ![n] = "F"]
    /\ ResetLead(n)
    /\ IF Bug("repaired-node-votes")
       THEN /\ SetLog(n, <<>>)
            /\ pool' = [pool EXCEPT ![n] = {}]
            /\ term' = [term EXCEPT ![n] = 0]
            /\ vote' = [vote EXCEPT ![n] = Nil]
            /\ commit' = [commit EXCEPT ![n] = 0]
            /\ applied' = [applied EXCEPT ![n] = 0]
       ELSE /\ \E j \in applied[n]..Len(log[n]) :
                 /\ j < Len(log[n]) => /\ Bug("ack-before-fsync") /\ role[n] = "L"
                                       /\ log[n][j + 1].t = term[n]
                 /\ SetLog(n, Prefix(log[n], j))
                 /\ pool' = [pool EXCEPT ![n] =
                               IF Bug("volatile-witness") THEN {}
                               ELSE @ \ {log[n][i].v : i \in (j + 1)..Len(log[n])}]
            /\ term' = [term EXCEPT ![n] = IF Bug("vote-not-persisted") THEN LastT(log[n]) ELSE @]
            /\ vote' = [vote EXCEPT ![n] = IF Bug("vote-not-persisted") THEN Nil ELSE @]
            /\ commit' = [commit EXCEPT ![n] = applied[n]]
            /\ UNCHANGED applied
    /\ UNCHANGED <<client, er, acks, reads>>
(* ------------------------- sessions, membership ------------------------- *)
AppendEntry(n, e) ==
    /\ SetLog(n, Append(log[n], e))
    /\ UNCHANGED <<term, vote, role, commit, applied, pool, lead, client, er, acks, reads, crashes>>

SessionBegin(n, cl) ==
    /\ Sessions /\ role[n] = "L"
    /\ ~ \E i \in 1..Len(log[n]) : log[n][i].k = "begin" /\ log[n][i].v = cl
    /\ AppendEntry(n, Entry(term[n], "begin", cl))

SessionEnd(n, cl) ==
    /\ Sessions /\ role[n] = "L" /\ Live(log[n], cl)
    /\ AppendEntry(n, Entry(term[n], "end", cl))

\* One voter more or less, one change at a time, and not before the fast path is open.
\* (Learners are told apart in CurpAsync.tla: here every other node is sent the log.)
AppendConfig(n) ==
    /\ role[n] = "L"
    /\ barrier[n] = 0 \/ Bug("config-before-noop")
    /\ LET I == {i \in 1..Len(log[n]) : log[n][i].k = "config"}
       IN /\ Cardinality(I) < MaxConfig
          /\ \A i \in I : i <= commit[n] \/ Bug("config-two-at-once")
    /\ \E m \in Node :
         LET V == IF m \in cfg[n].voters THEN cfg[n].voters \ {m} ELSE cfg[n].voters \cup {m}
         IN V # {} /\ AppendEntry(n, [Entry(term[n], "config", Nil) EXCEPT !.cfg = V])

\* A command of the leader's own (the revoke of a lease that expired): no session, no id, no
\* client that waits; it is not recorded, and conflicts with all.
AppendOwn(n) ==
    /\ role[n] = "L" /\ barrier[n] = 0
    /\ Cardinality({i \in 1..Len(log[n]) : log[n][i].k = "own"}) < MaxOwn
    /\ AppendEntry(n, Entry(term[n], "own", Nil))

(* -------------------------------- reads --------------------------------- *)
\* At arrival the leader notes the read index: the last conflicting entry in its LOG,
\* and at least its commit index.
ReadRequest(n, r) ==
    /\ role[n] = "L" /\ reads[r].st = "idle"
    /\ barrier[n] = 0 \/ Bug("read-before-noop")
    /\ LET I == {i \in 1..Len(log[n]) : \/ IsCmd(log[n], i) /\ Sees(r, log[n][i].v)
                                        \/ log[n][i].k = "own"}
           x == IF Bug("read-index-is-commit") THEN commit[n] ELSE Max(I \cup {commit[n]})
       IN reads' = [reads EXCEPT ![r] =
            [st |-> "asked", n |-> n, t |-> term[n], idx |-> x, acks |-> {n}, saw |-> {},
             pre |-> {c \in Cmd : Sees(r, c) /\ (Done(c) \/ \E s \in Read : c \in reads[s].saw)}]]
    /\ UNCHANGED <<raft, pool, lead, client, er, acks, crashes>>

\* m answers the leadership round that n began after the read arrived.
ReadAck(m, r) ==
    /\ reads[r].st = "asked" /\ Up(m)
    /\ role[reads[r].n] = "L" /\ term[reads[r].n] = reads[r].t /\ term[m] = reads[r].t
    /\ m \notin reads[r].acks
    /\ reads' = [reads EXCEPT ![r].acks = @ \cup {m}]
    /\ UNCHANGED <<raft, pool, lead, client, er, acks, crashes>>

\* The index is given out when it is committed: an uncommitted entry can move to another
\* index when a later leader recovers its command ("read-index-uncommitted").
ReadIndex(n, r) ==
    /\ commit[n] >= reads[r].idx \/ Bug("read-index-uncommitted")
    /\ reads[r].st = "asked" /\ reads[r].n = n /\ role[n] = "L" /\ term[n] = reads[r].t
    /\ \/ Bug("read-local-leader")
       \/ \E q \in Quorums(cfg[n].voters) : q \subseteq reads[r].acks
    /\ reads' = [reads EXCEPT ![r].st = "index"]
    /\ UNCHANGED <<raft, pool, lead, client, er, acks, crashes>>

\* Any node, leader or follower, that has applied up to the index serves the read.
ServeRead(n, r) ==
    /\ reads[r].st = "index" /\ Up(n)
    /\ applied[n] >= reads[r].idx \/ Bug("read-not-applied")
    /\ reads' = [reads EXCEPT ![r].st = "served",
                              ![r].saw = {c \in Cmd : Sees(r, c) /\ Took(Applied(n), c)}]
    /\ UNCHANGED <<raft, pool, lead, client, er, acks, crashes>>

(* --------------------------------- Next --------------------------------- *)
Next ==
    \/ \E c \in Cmd : Propose(c)
    \/ \E c \in Cmd : FastComplete(c)
    \/ \E c \in Cmd : SyncedComplete(c)
    \/ \E n \in Node, c \in Cmd : LeaderPropose(n, c)
    \/ \E n \in Node, c \in Cmd : WitnessRecord(n, c)
    \/ \E n \in Node, c \in Cmd : PoolDrop(n, c)
    \/ \E n, l \in Node : \E k \in 1..Len(log[l]) : AcceptEntries(n, l, k)
    \/ \E n \in Node : AdvanceCommit(n)
    \/ \E n \in Node : UpdateTerm(n)
    \/ \E n, l \in Node : InstallSnapshot(n, l)
    \/ \E n \in Node : Elect(n)
    \/ \E n \in Node : Reboot(n)
    \/ \E n \in Node, cl \in Client : SessionBegin(n, cl)
    \/ \E n \in Node, cl \in Client : SessionEnd(n, cl)
    \/ \E n \in Node : AppendConfig(n)
    \/ \E n \in Node : AppendOwn(n)
    \/ \E n \in Node, r \in Read : ReadRequest(n, r)
    \/ \E n \in Node, r \in Read : ReadAck(n, r)
    \/ \E n \in Node, r \in Read : ReadIndex(n, r)
    \/ \E n \in Node, r \in Read : ServeRead(n, r)
Spec == Init /\ [][Next]_vars

(* ------------------------------ invariants ------------------------------ *)
Leaders == {n \in Node : role[n] = "L"}
IsEntry(e) == /\ e.t \in 1..MaxTerm /\ e.cfg \subseteq Node /\ e.lrn \subseteq Node /\ e.fi \in Nat
              /\ \/ e.k = "cmd" /\ e.v \in Cmd
                 \/ e.k \in {"begin", "end"} /\ e.v \in Client
                 \/ e.k \in {"noop", "config", "shut", "own"} /\ e.v = Nil
TypeOK ==
    /\ \A n \in Node :
         /\ term[n] \in 0..MaxTerm /\ vote[n] \in Node \cup {Nil}
         /\ role[n] \in {"F", "C", "L", "D", "X"}
         /\ \A i \in 1..Len(log[n]) : IsEntry(log[n][i])
         /\ commit[n] \in Nat /\ applied[n] \in Nat
         /\ cfg[n].voters \cup cfg[n].learners \subseteq Node /\ pool[n] \subseteq Cmd
         /\ barrier[n] \in 0..Len(log[n]) /\ barrier[n] > 0 => role[n] = "L"
         /\ \A v \in votes[n] : v.v \in Node /\ v.pool \subseteq Cmd
    /\ prop \subseteq Cmd
    /\ \A c \in Cmd : done[c].how \in {"no", "fast", "sync"} /\ done[c].res \in Cmd \cup {Nil, Own}
    /\ crashes \in 0..MaxCrash
\* nothing committed is truncated, nothing applied becomes uncommitted
CommitKept     == \A n \in Node : applied[n] <= commit[n] /\ commit[n] <= Len(log[n])
ElectionSafety == \A m, n \in Leaders : term[m] = term[n] => m = n
\* (by induction: entries of one term and index are the same, and so are all before)
LogMatching    == \A m, n \in Node : m = n \/ \A i \in 1..Min2(Len(log[m]), Len(log[n])) :
                    log[m][i].t = log[n][i].t =>
                      /\ log[m][i] = log[n][i]
                      /\ i > 1 => log[m][i - 1].t = log[n][i - 1].t
StateSafety    == \A m, n \in Node : m = n \/ LET k == Min2(commit[m], commit[n])
                    IN Prefix(log[m], k) = Prefix(log[n], k)
LeaderComplete == \A l \in Leaders, n \in Node : (l # n /\ term[l] >= term[n]) =>
                    /\ Len(log[l]) >= commit[n]
                    /\ Prefix(log[l], commit[n]) = Committed(n)
\* no leader's log has an id twice (dedup before append) ...
NoDup          == \A n \in Node :
                    Cardinality(Cmds(log[n])) = Len(SelectSeq(log[n], LAMBDA e : e.k = "cmd"))
\* ... and, whatever is in the logs, no operation takes effect twice
ExactlyOnce    == \A n \in Node : LET I == EffIdx(Applied(n))
                    IN Cardinality({OpOf[log[n][i].v] : i \in I}) = Cardinality(I)
PoolCommutes   == \A n \in Node : \A c, d \in pool[n] : ~Conf(c, d)
\* what recovery would count in any quorum commutes
RecoveredCommutes == \A n \in Node : \A q \in Electorates(n) :
                       LET R == Counted(n, PoolsOf(q)) IN \A c, d \in R : ~Conf(c, d)
\* a completed command is in the log of every later leader
DoneDurable    == \A c \in Cmd : Done(c) => \A l \in Leaders :
                    term[l] > done[c].t => c \in Eff(log[l])
\* ... what its client was told stays true there, and wherever it is committed
DoneStable     == \A c \in Cmd : Done(c) => \A n \in Node :
                    /\ (n \in Leaders /\ term[n] > done[c].t /\ c \in Eff(log[n]))
                         => Res(log[n], c) = done[c].res
                    /\ c \in Eff(Committed(n)) => Res(log[n], c) = done[c].res
\* ... and every quorum that could elect a leader now would bring that about
DoneRecoverable ==
    \A c \in Cmd : Done(c) => \A n \in Node : \A q \in Electorates(n) :
      (/\ \A m \in q : UpToDate(n, m)
       /\ \E m \in q \cup {n} : term[m] >= done[c].t)
      => IF c \in Eff(log[n]) THEN Res(log[n], c) = done[c].res
         ELSE LET R == Recovered(n, PoolsOf(q))
              IN \A s \in Orders(R) :
                   LET new == log[n] \o Refill(MaxTerm, s)
                   IN c \in Eff(new) /\ Res(new, c) = done[c].res
\* the same for what is committed
CommittedElectable ==
    \A n, m \in Node : m = n \/ \A q \in Electorates(m) :
      (/\ \A x \in q : UpToDate(m, x)
       /\ \E x \in q \cup {m} : term[x] >= LastT(Committed(n)))
      => Len(log[m]) >= commit[n] /\ Prefix(log[m], commit[n]) = Committed(n)
\* real-time order of conflicting commands
RealTime       == \A n \in Node : LET s == Committed(n) IN \A c \in Eff(s) : \A p \in pre[c] :
                    p \in Eff(s) /\ Pos(s, p) < Pos(s, c)
\* no two completed commands observed the same predecessor (leaders' own have one name)
NoFork         == \A a, b \in Cmd : Done(a) /\ Done(b) /\ Conf(a, b) =>
                    done[a].res # done[b].res \/ done[a].res = Own
\* a read sees every command that was completed, or read, before it was asked
ReadFresh      == \A r \in Read : reads[r].st = "served" => reads[r].pre \subseteq reads[r].saw
=============================================================================
