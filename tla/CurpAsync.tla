----------------------------- MODULE CurpAsync ------------------------------
(* Curp.tla taken apart: one action is one atomic handler of one node, a     *)
(* write ends later than the handler that asked for it, and a message may    *)
(* arrive at any time after the write it waits for has ended.  This is what  *)
(* traces of the implementation are held against (TraceCurp.tla); the        *)
(* invariants are Curp.tla's.                                                *)
(*                                                                           *)
(* A node writes records to its disk in order.  disk is what is durable,     *)
(* pend the records on their way; Persist moves the first of them over.  A   *)
(* message depends on a record: it carries the number of that record, need,  *)
(* and counts for nobody before so many records of its sender are durable.   *)
(* A crash takes the messages that still wait, and a restart finds the       *)
(* durable records and perhaps some more, in order (a killed process leaves  *)
(* its page cache).  The state machine is rebuilt from the log, from a       *)
(* snapshot or from its store on.                                            *)
(*                                                                           *)
(* Messages that have left are never lost from the sets they are in.  What a *)
(* leader sends to its followers is its log: sent keeps it for each term, so *)
(* an append may arrive long after its sender was deposed.                   *)
(*                                                                           *)
(* Bugs that live between a write and a message: vote-not-persisted,         *)
(* own-vote-not-persisted, volatile-witness, witness-ack-before-sync,        *)
(* ack-before-fsync, apply-before-persist.  The others are Curp.tla's.       *)
(*                                                                           *)
(* Snapshots.  The log is kept whole here: a snapshot says what the log's    *)
(* first entries come to, so taking one and dropping the entries it covers   *)
(* change nothing but what a restart begins from.  A node that installs one  *)
(* has the leader's committed prefix from then on, applied.  A state machine *)
(* may have a store of its own as well, which is written at other times than *)
(* the log: a restart may find in it what no record on the disk says yet to  *)
(* be committed.                                                             *)
(* Membership.  The configuration of a node is that of its log.  Learners    *)
(* are sent the log and nothing else; nodes that join later are there from   *)
(* the beginning, with an empty disk and outside the configuration.          *)
EXTENDS Curp

CONSTANT Stores   \* whether state machines have a store of their own

VARIABLES
  disk,    \* per node, what is durable: [t, v, c (commit), log, pool, s (snapshot's index)]
  pend,    \* per node, records written and not durable yet, in order
  synced,  \* per node, how many of its records are durable
  sent,    \* per term, what its leader tells followers: [n, log, commit]
  asks,    \* requests for votes: [t, n, lt, li, need]; lt, li: last of n's log
  cast,    \* votes: [t, n, to, pool, need]
  left,    \* per node and term it has left: record needed for an answer that
           \* its log equals the leader's up to 1, 2, ...
  early,   \* per leader, fast commands that are not executed yet
  files,   \* per node: [made, base, kept]: indexes of snapshots whose file may be complete, of
           \* which no record is durable; up to where the log's entries were dropped; up to
           \* where what is applied is in the state machine's store, durably
  asr      \* synced results: [c, res]

msgs  == <<asks, cast, left>>
disks == <<disk, pend, synced>>
async == <<disks, msgs, sent, early, files, asr>>

AsyncBugs == {"vote-not-persisted", "own-vote-not-persisted", "volatile-witness",
              "witness-ack-before-sync", "ack-before-fsync", "apply-before-persist"}

(* -------------------------------- disks --------------------------------- *)
Hard(t, v, c) == [k |-> "hard", t |-> t, v |-> v, c |-> c]
Ent(i, e)     == [k |-> "entry", i |-> i, e |-> e]   \* cuts what stood at i and after
In(c)         == [k |-> "in", c |-> c]
Out(c)        == [k |-> "out", c |-> c]
\* the snapshot of what P comes to is complete; cut: it takes the place of the log
Snap(P, cut)  == [k |-> "snap", i |-> Len(P), p |-> P, cut |-> cut]
Fold(d, r) ==
    CASE r.k = "hard"  -> [d EXCEPT !.t = r.t, !.v = r.v, !.c = r.c]
      [] r.k = "entry" -> [d EXCEPT !.log = Append(Prefix(@, r.i - 1), r.e)]
      [] r.k = "in"    -> [d EXCEPT !.pool = @ \cup {r.c}]
      [] r.k = "out"   -> [d EXCEPT !.pool = @ \ {r.c}]
      [] r.k = "snap"  -> [d EXCEPT !.s = r.i, !.c = Max({@, r.i}), !.log = IF r.cut THEN r.p ELSE @]
RECURSIVE FoldAll(_, _)
FoldAll(d, rs) == IF rs = <<>> THEN d ELSE FoldAll(Fold(d, Head(rs)), Tail(rs))

Write(n, rs)   == pend' = [pend EXCEPT ![n] = @ \o rs]
WriteHard(n)   == Write(n, <<Hard(term'[n], vote'[n], commit'[n])>>)
\* Numbers of the records that must be durable first, given n's records on their way, p;
\* 0: nothing is waited for.
Number(n, I)      == IF I = {} THEN 0 ELSE synced[n] + Max(I)
NeedEntry(n, p, i) == Number(n, {j \in 1..Len(p) : IF p[j].k = "snap" THEN p[j].cut /\ p[j].i >= i
                                                  ELSE p[j].k = "entry" /\ p[j].i = i})
NeedPool(n, p, c) == IF Bug("witness-ack-before-sync") THEN 0
                     ELSE Number(n, {j \in 1..Len(p) : p[j].k = "in" /\ p[j].c = c})
\* term and vote: the first record that has them
NeedTerm(n, p, t, v) ==
    LET J == {j \in 1..Len(p) : p[j].k = "hard" /\ p[j].t = t /\ p[j].v = v}
    IN IF (disk[n].t = t /\ disk[n].v = v) \/ J = {} THEN 0
       ELSE synced[n] + (CHOOSE j \in J : \A x \in J : j <= x)
\* the message has left
Left(m) == synced[m.n] >= m.need

(* --------------------------- what a node may say ------------------------ *)
\* the log of n equals that of the leader of t up to k (log matching)
Agree(n, t, k) == /\ k \in 1..Len(log[n]) /\ k <= Len(sent[t].log)
                  /\ log[n][k].t = sent[t].log[k].t
NeedAnswer(n, k) == LET e == IF Bug("ack-before-fsync") THEN 0 ELSE NeedEntry(n, pend[n], k)
                    IN Max({e, NeedTerm(n, pend[n], term[n], vote[n])})
\* n may have answered the leader of term t that it has its log up to k
Answers(n, t, k) ==
    \/ term[n] = t /\ Agree(n, t, k) /\ synced[n] >= NeedAnswer(n, k)
    \/ k <= Len(left[n][t]) /\ synced[n] >= left[n][t][k]
\* n leaves its term: answers given in it stay on their way
Leave(n) ==
    LET t == term[n]
        K == {k \in 1..Len(log[n]) : Agree(n, t, k)}
    IN left' = IF t = 0 \/ sent[t].n \in {Nil, n} \/ K = {} THEN left
               ELSE [left EXCEPT ![n][t] = [k \in 1..Max(K) |-> NeedAnswer(n, k)]]
\* ... and so do answers to rounds of heartbeats
LeaveReads(n) == reads' = [r \in Read |-> IF reads[r].st = "asked" /\ reads[r].t = term[n]
                                          THEN [reads[r] EXCEPT !.acks = @ \cup {n}] ELSE reads[r]]
\* the session table runs ahead of the applied index, by what is committed
Tables(n) == {Prefix(log[n], j) : j \in applied[n]..commit[n]}
Knows(n, c) == \E s \in Tables(n) : Live(s, ClientOf[c]) /\ SeqNo[c] >= FirstInc(s, ClientOf[c])
\* leaders say what they append
Extend(n, es, more) ==
    /\ SetLog(n, log[n] \o es)
    /\ Write(n, [i \in 1..Len(es) |-> Ent(Len(log[n]) + i, es[i])] \o more)

NoDisk == [t |-> 0, v |-> Nil, c |-> 0, log |-> <<>>, pool |-> {}, s |-> 0]
NoFiles == [made |-> {}, base |-> 0, kept |-> 0]
Unsaid == [n |-> Nil, log |-> <<>>, commit |-> 0]
InitAsync ==
    /\ disk = [n \in Node |-> [t |-> term[n], v |-> vote[n], c |-> commit[n], log |-> log[n],
                               pool |-> pool[n], s |-> 0]]
    /\ pend = [n \in Node |-> <<>>] /\ synced = [n \in Node |-> 0]
    /\ sent = [t \in 1..MaxTerm |->
                 IF \E n \in Node : role[n] = "L" /\ term[n] = t
                 THEN LET l == CHOOSE n \in Node : role[n] = "L" /\ term[n] = t
                      IN [n |-> l, log |-> log[l], commit |-> commit[l]]
                 ELSE Unsaid]
    /\ asks = {} /\ cast = {} /\ asr = {}
    /\ left = [n \in Node |-> [t \in 1..MaxTerm |-> <<>>]]
    /\ early = [n \in Node |-> {}] /\ files = [n \in Node |-> NoFiles]

(* ------------------------------- clients -------------------------------- *)
AsyncPropose(c) == Propose(c) /\ UNCHANGED async

\* an ER and accepts of one term and one configuration have arrived
AsyncFastComplete(c, e, Q) ==
    /\ ~Done(c) /\ e \in er /\ e.c = c /\ Left(e)
    /\ e.n \in Q /\ (Q \subseteq e.voters \/ Bug("learner-counts"))
    /\ \A n \in Q \ {e.n} :
         \E a \in acks : /\ a.c = c /\ a.n = n /\ a.t = e.t /\ Left(a)
                       /\ (a.ver = e.ver \/ Bug("record-no-config"))
    /\ Cardinality(Q) >= Super(Cardinality(e.voters))
    /\ done' = [done EXCEPT ![c] = [how |-> "fast", t |-> e.t, res |-> e.res]]
    /\ Answered(c)
    /\ UNCHANGED <<raft, pool, lead, prop, pre, fi, reads, crashes, async>>

AsyncSyncedComplete(c) ==
    /\ ~Synced(c)
    /\ \E a \in asr :
         /\ a.c = c
         /\ done' = [done EXCEPT ![c] = [how |-> "sync", t |-> IF Done(c) THEN @.t ELSE 0, res |-> a.res]]
    /\ Answered(c)
    /\ UNCHANGED <<raft, pool, lead, prop, pre, fi, reads, crashes, async>>

(* ----------------------------- propose path ----------------------------- *)
\* The leader has proposed the shutdown: nothing comes after it in its term.
Closing(n) == \E i \in 1..Len(log[n]) : log[n][i].k = "shut" /\ log[n][i].t = term[n]
\* A leader may always answer "conflict" (fast = FALSE): a command that was handed over
\* has nobody who waits for an ER.
AsyncLeaderPropose(n, c, fast) ==
    /\ c \in prop /\ (Sessions => Knows(n, c))
    /\ role[n] = "L" /\ ~Closing(n)
    /\ c \notin Cmds(log[n])
    /\ fast => ~Blocked(n, c)
    /\ LET new == fast /\ c \notin pool[n] /\ ~Bug("leader-skips-own-pool")
       IN /\ Extend(n, <<[Entry(term[n], "cmd", c) EXCEPT !.fi = fi[c]]>>,
                    IF new THEN <<In(c)>> ELSE <<>>)
          /\ pool' = IF new THEN [pool EXCEPT ![n] = @ \cup {c}] ELSE pool
    /\ early' = IF fast THEN [early EXCEPT ![n] = @ \cup {c}] ELSE early
    /\ sent' = [sent EXCEPT ![term[n]].log = log'[n]]
    /\ UNCHANGED <<term, vote, role, commit, applied, lead, client, er, acks, reads, crashes,
                   disk, synced, msgs, files, asr>>

\* The result of a fast command is computed; ER leaves once log entry and pool record are durable.
Execute(n, c) ==
    /\ role[n] = "L" /\ c \in early[n]
    /\ LET i == CHOOSE i \in 1..Len(log[n]) : IsCmd(log[n], i) /\ log[n][i].v = c
           p == pend[n]
       IN /\ i > applied[n]
          /\ er' = IF Done(c) THEN er
                   ELSE er \cup {[c |-> c, t |-> term[n], n |-> n, ver |-> cfg[n].ver,
                                  voters |-> cfg[n].voters, res |-> Obs(Applied(n), c),
                                  need |-> Max({NeedEntry(n, p, i), NeedPool(n, p, c),
                                                NeedTerm(n, p, term[n], vote[n])})]}
    /\ early' = [early EXCEPT ![n] = @ \ {c}]
    /\ UNCHANGED <<raft, pool, lead, client, acks, reads, crashes, disks, msgs, sent, files, asr>>

\* A Record of term t and configuration ver is accepted.
AsyncWitnessRecord(n, c, t, ver) ==
    /\ c \in prop /\ role[n] \in {"F", "C"} /\ (Sessions => Knows(n, c))
    /\ c \notin Slow \/ Bug("slow-is-fast")
    /\ n \in cfg[n].voters \/ Bug("learner-counts")
    /\ t > 0 /\ (t = term[n] \/ Bug("record-no-term"))
    /\ ver = cfg[n].ver \/ Bug("record-no-config")
    /\ ~Covers(n, c)
    /\ ~ \E d \in pool[n] : Conf(c, d)
    /\ LET new == c \notin pool[n]
           p == IF new /\ ~Bug("volatile-witness") THEN Append(pend[n], In(c)) ELSE pend[n]
           a == [c |-> c, t |-> t, n |-> n, ver |-> ver,
                 need |-> Max({NeedPool(n, p, c), NeedTerm(n, p, term[n], vote[n])})]
       IN /\ pend' = [pend EXCEPT ![n] = p]
          /\ acks' = IF Done(c) THEN acks ELSE acks \cup {a}
    /\ pool' = [pool EXCEPT ![n] = @ \cup {c}]
    /\ UNCHANGED <<raft, lead, client, er, reads, crashes, disk, synced, msgs, sent, early, files, asr>>

AsyncPoolDrop(n, c) == PoolDrop(n, c) /\ Write(n, <<Out(c)>>)
                       /\ UNCHANGED <<disk, synced, msgs, sent, early, files, asr>>

(* ------------------------------ replication ----------------------------- *)
\* Entry k of the leader of n's term is new to n.
AsyncAcceptEntries(n, k) ==
    LET t == term[n]
        src == sent[t].log
    IN /\ role[n] \in {"F", "C"} /\ t > 0
       /\ sent[t].n \notin {Nil, n}
       /\ k \in 1..Len(src) /\ Len(log[n]) >= k - 1
       /\ k > 1 => log[n][k - 1].t = src[k - 1].t
       /\ ~(Len(log[n]) >= k /\ log[n][k].t = src[k].t)
       /\ SetLog(n, Append(Prefix(log[n], k - 1), src[k]))
       /\ Write(n, <<Ent(k, src[k])>>)
       /\ role' = [role EXCEPT ![n] = "F"]
       /\ UNCHANGED <<term, vote, commit, applied, pool, lead, client, er, acks, reads, crashes,
                      disk, synced, msgs, sent, early, files, asr>>

\* Those the leader sends its log to: members, and until its removal is applied a former one,
\* which is to learn of it.
Heard(n) == UNION {LET g == CfgOf(Prefix(log[n], i)) IN g.voters \cup g.learners :
                     i \in {applied[n]} \cup {j \in (applied[n] + 1)..Len(log[n]) : log[n][j].k = "config"}}
\* The leader hears that m has its log up to k.
Matched(n, m, k) ==
    /\ role[n] = "L" /\ m \in Heard(n) \ {n} /\ k > match[n][m] /\ k <= Len(log[n])
    /\ Answers(m, term[n], k)
    /\ match' = [match EXCEPT ![n][m] = k]
    /\ UNCHANGED <<raft, pool, votes, barrier, client, er, acks, reads, crashes, async>>

\* The leader commits by counting voters; of itself, if it is one still, it counts what is durable.
AsyncAdvanceCommit(n, k) ==
    /\ role[n] = "L" /\ k > commit[n] /\ k <= Len(log[n])
    /\ log[n][k].t = term[n] \/ Bug("commit-old-term")
    /\ LET own == synced[n] >= NeedEntry(n, pend[n], k) \/ Bug("ack-before-fsync")
       IN Cardinality({m \in Having(n, k) : m # n \/ own}) >= Quorum(Cardinality(cfg[n].voters))
    /\ commit' = [commit EXCEPT ![n] = k]
    /\ sent' = [sent EXCEPT ![term[n]].commit = k]
    /\ UNCHANGED <<term, vote>> /\ WriteHard(n)
    /\ UNCHANGED <<role, log, applied, cfg, pool, lead, client, er, acks, reads, crashes,
                   disk, synced, msgs, early, files, asr>>

\* A follower is told that its log is committed up to k.
FollowCommit(n, k) ==
    LET t == term[n]
    IN /\ role[n] \in {"F", "C"} /\ t > 0 /\ sent[t].n \notin {Nil, n}
       /\ k > commit[n] /\ k <= sent[t].commit /\ Agree(n, t, k)
       /\ commit' = [commit EXCEPT ![n] = k]
       /\ role' = [role EXCEPT ![n] = "F"]
       /\ UNCHANGED <<term, vote>> /\ WriteHard(n)
       /\ UNCHANGED <<log, applied, cfg, pool, lead, client, er, acks, reads, crashes,
                      disk, synced, msgs, sent, early, files, asr>>

\* An entry is applied when it is committed, and durable here.
Apply(n) ==
    LET i == applied[n] + 1
    IN /\ Up(n) /\ i <= commit[n]
       /\ synced[n] >= NeedEntry(n, pend[n], i) \/ Bug("apply-before-persist")
       /\ applied' = [applied EXCEPT ![n] = i]
       /\ asr' = IF EffAt(log[n], i)
                 THEN asr \cup {[c |-> log[n][i].v, res |-> Obs(Prefix(log[n], i - 1), log[n][i].v)]}
                 ELSE asr
       /\ UNCHANGED <<term, vote, role, log, commit, cfg, pool, lead, client, er, acks, reads,
                      crashes, disks, msgs, sent, early, files>>

OpenFastPath(n) ==
    /\ role[n] = "L" /\ barrier[n] > 0 /\ applied[n] >= barrier[n]
    /\ barrier' = [barrier EXCEPT ![n] = 0]
    /\ UNCHANGED <<raft, pool, votes, match, client, er, acks, reads, crashes, async>>

(* ------------------------ elections and recovery ------------------------ *)
Depose(n) == ResetLead(n) /\ early' = [early EXCEPT ![n] = {}]

\* n hears of a later term: of a candidate, or of a node that has it, or had it, durably (one
\* that stood for election and crashed before its requests left may find the term on its disk).
AsyncUpdateTerm(n, t) ==
    /\ Up(n) /\ t > term[n]
    /\ \/ \E a \in asks : a.t = t /\ Left(a)
       \/ \E m \in Node : disk[m].t >= t
    /\ term' = [term EXCEPT ![n] = t]
    /\ vote' = [vote EXCEPT ![n] = Nil]
    /\ role' = [role EXCEPT ![n] = "F"]
    /\ UNCHANGED commit
    /\ IF Bug("vote-not-persisted") THEN UNCHANGED pend ELSE WriteHard(n)
    /\ Depose(n) /\ Leave(n) /\ LeaveReads(n)
    /\ UNCHANGED <<log, applied, cfg, pool, client, er, acks, crashes, disk, synced, asks, cast,
                   sent, files, asr>>

Campaign(n) ==
    /\ role[n] \in {"F", "C"} /\ Stands(n) /\ term[n] < MaxTerm
    /\ term' = [term EXCEPT ![n] = @ + 1]
    /\ vote' = [vote EXCEPT ![n] = n]
    /\ role' = [role EXCEPT ![n] = "C"]
    /\ UNCHANGED commit
    /\ LET kept == ~Bug("vote-not-persisted") /\ ~Bug("own-vote-not-persisted")
       IN /\ IF kept THEN WriteHard(n) ELSE UNCHANGED pend
          /\ asks' = asks \cup {[t |-> term'[n], n |-> n, lt |-> LastT(log[n]), li |-> Len(log[n]),
                                 need |-> IF kept THEN synced[n] + Len(pend'[n]) ELSE 0]}
    /\ Depose(n) /\ Leave(n) /\ LeaveReads(n)
    /\ UNCHANGED <<log, applied, cfg, pool, client, er, acks, crashes, disk, synced, cast, sent, files, asr>>

AtLeast(a, n) == \/ a.lt > LastT(log[n])
                 \/ a.lt = LastT(log[n]) /\ a.li >= Len(log[n])
\* n votes for m in its term; the vote carries its pool.
GrantVote(n, m) ==
    /\ role[n] = "F" /\ vote[n] = Nil
    /\ \E a \in asks : a.t = term[n] /\ a.n = m /\ m # n /\ Left(a) /\ AtLeast(a, n)
    /\ vote' = [vote EXCEPT ![n] = m]
    /\ UNCHANGED <<term, commit>>
    /\ IF Bug("vote-not-persisted") THEN UNCHANGED pend ELSE WriteHard(n)
    /\ cast' = cast \cup {[t |-> term[n], n |-> n, to |-> m, pool |-> pool[n],
                           need |-> IF Bug("vote-not-persisted") THEN 0
                                    ELSE synced[n] + Len(pend'[n])]}
    /\ UNCHANGED <<role, log, applied, cfg, pool, lead, client, er, acks, reads, crashes,
                   disk, synced, asks, left, sent, early, files, asr>>

\* The request comes again: the vote stands, the pool is that of now.
RepeatVote(n, m) ==
    /\ role[n] = "F" /\ vote[n] = m
    /\ \E a \in asks : a.t = term[n] /\ a.n = m /\ m # n /\ Left(a) /\ AtLeast(a, n)
    /\ cast' = cast \cup {[t |-> term[n], n |-> n, to |-> m, pool |-> pool[n],
                           need |-> NeedTerm(n, pend[n], term[n], m)]}
    /\ UNCHANGED <<raft, pool, lead, client, er, acks, reads, crashes, disks, asks, left, sent,
                   early, files, asr>>

\* n counts the pools of exactly a quorum: its own (if it is a voter), and those of the votes B.  It appends a
\* no-op and the recovered commands, in the order s.  What its session table holds is skipped.
AsyncBecomeLeader(n, B, s) ==
    LET t == term[n]
        own == IF n \in cfg[n].voters THEN {[v |-> n, pool |-> pool[n]]} ELSE {}
        P == own \cup {[v |-> b.n, pool |-> b.pool] : b \in B}
        es == <<Entry(t, "noop", Nil)>> \o Refill(t, s)
    IN /\ role[n] = "C"
       /\ \A b \in B : b.t = t /\ b.to = n /\ Left(b) /\ b.n \in cfg[n].voters
       /\ Cardinality({v.v : v \in P}) = Cardinality(P)
       /\ Cardinality(P) = Quorum(Cardinality(cfg[n].voters))
       /\ \E tab \in Tables(n) :
            {s[i] : i \in 1..Len(s)}
              = {c \in Recovered(n, P) : ~(\/ Took(tab, c)
                                           \/ Sessions /\ SeqNo[c] < FirstInc(tab, ClientOf[c])
                                           \/ Ended(tab, ClientOf[c]))}
       /\ \A i, j \in 1..Len(s) : s[i] = s[j] => i = j
       /\ Extend(n, es, <<>>)
       /\ barrier' = [barrier EXCEPT ![n] = Len(log'[n])]
       /\ match' = [match EXCEPT ![n] = NoMatch]
       /\ sent' = [sent EXCEPT ![t] = [n |-> n, log |-> log'[n], commit |-> commit[n]]]
       /\ role' = [role EXCEPT ![n] = "L"]
       /\ UNCHANGED <<term, vote, commit, applied, pool, votes, client, er, acks, reads, crashes,
                      disk, synced, msgs, early, files, asr>>

\* A leader that hears of no quorum follows, in its own term.
StepDown(n) ==
    /\ role[n] = "L"
    /\ role' = [role EXCEPT ![n] = "F"]
    /\ Depose(n)
    /\ UNCHANGED <<term, vote, log, commit, applied, cfg, pool, client, er, acks, reads, crashes,
                   disks, msgs, sent, files, asr>>

\* A leader tells another voter to stand for election at once: that one's Campaign is as any other,
\* since pre-vote is not modelled, so this changes nothing.
TransferLeader(n, m) ==
    /\ role[n] = "L" /\ m \in cfg[n].voters \ {n}
    /\ UNCHANGED <<vars, async>>

(* --------------------- crash, restart, and the disk --------------------- *)
Persist(n, k) ==
    /\ k \in 1..Len(pend[n])
    /\ disk' = [disk EXCEPT ![n] = FoldAll(@, Prefix(pend[n], k))]
    /\ pend' = [pend EXCEPT ![n] = SubSeq(@, k + 1, Len(@))]
    /\ synced' = [synced EXCEPT ![n] = @ + k]
    /\ UNCHANGED <<raft, pool, lead, client, er, acks, reads, crashes, msgs, sent, early, files, asr>>

\* What waits for a write will never leave.
Crash(n) ==
    /\ Up(n) /\ crashes < MaxCrash /\ crashes' = crashes + 1
    /\ role' = [role EXCEPT ![n] = "D"]
    /\ Depose(n)
    /\ asks' = {m \in asks : m.n # n \/ Left(m)}
    /\ cast' = {m \in cast : m.n # n \/ Left(m)}
    /\ er' = {m \in er : m.n # n \/ Left(m)}
    /\ acks' = {m \in acks : m.n # n \/ Left(m)}
    /\ left' = [left EXCEPT ![n] = [t \in 1..MaxTerm |->
                  LET K == {k \in 1..Len(left[n][t]) : left[n][t][k] <= synced[n]}
                  IN IF K = {} THEN <<>> ELSE Prefix(left[n][t], Max(K))]]
    /\ UNCHANGED <<term, vote, log, commit, applied, cfg, pool, client, reads, disks, sent, files, asr>>

\* n finds the durable records and the first j of those on their way, and begins from a snapshot
\* of the state at x: the last whose record is there.  The log it finds begins after b.  If it has
\* a store with a later state, up to s, it begins from that one (else s is x): no older one than it
\* was told to have there, and none that it had not applied.  What is applied is committed.
Restart(n, j, x, b, s) ==
    /\ role[n] = "D" /\ j \in 0..Len(pend[n]) /\ b <= Min2(files[n].base, x)
    /\ s >= x /\ s >= files[n].kept /\ (s > x => Stores /\ s <= applied[n])
    /\ LET d == FoldAll(disk[n], Prefix(pend[n], j))
       IN /\ x = d.s \/ (x \in files[n].made /\ x > d.s /\ x <= Len(d.log))
          /\ s <= Len(d.log)
          /\ term' = [term EXCEPT ![n] = d.t]
          /\ vote' = [vote EXCEPT ![n] = d.v]
          /\ SetLog(n, d.log)
          /\ pool' = [pool EXCEPT ![n] = d.pool]
          /\ commit' = [commit EXCEPT ![n] = Max({s, Min2(d.c, Len(d.log))})]
    /\ applied' = [applied EXCEPT ![n] = s]
    /\ role' = [role EXCEPT ![n] = "F"]
    /\ pend' = [pend EXCEPT ![n] = Prefix(@, j)]
    \* a file without a record is removed
    /\ files' = [files EXCEPT ![n] = [made |-> IF x \in @.made THEN {x} ELSE {}, base |-> b,
                                      kept |-> IF s > x THEN s ELSE @.kept]]
    /\ UNCHANGED <<lead, client, er, acks, reads, crashes, disk, synced, msgs, sent, early, asr>>

\* The disk of a node that is down is lost, and with it what the node promised: it never starts
\* again under its id.  ("repaired-node-votes": it starts from nothing.)
LoseDisk(n) ==
    /\ role[n] = "D"
    /\ IF Bug("repaired-node-votes")
       THEN /\ disk' = [disk EXCEPT ![n] = NoDisk]
            /\ pend' = [pend EXCEPT ![n] = <<>>]
            /\ files' = [files EXCEPT ![n] = NoFiles]
            /\ UNCHANGED role
       ELSE role' = [role EXCEPT ![n] = "X"] /\ UNCHANGED <<disk, pend, files>>
    /\ UNCHANGED <<term, vote, log, commit, applied, cfg, pool, lead, client, er, acks, reads,
                   crashes, synced, msgs, sent, early, asr>>

(* ------------------------------- snapshots ------------------------------ *)
\* A snapshot of what n has applied, in memory; its file is written next.
TakeSnapshot(n) ==
    /\ Snapshots /\ Up(n) /\ applied[n] > disk[n].s /\ applied[n] \notin files[n].made
    /\ files' = [files EXCEPT ![n].made = @ \cup {applied[n]}]
    /\ UNCHANGED <<vars, disks, msgs, sent, early, asr>>

\* The file is complete, and the record that says so is durable.
SaveSnapshot(n, i) ==
    /\ i \in files[n].made /\ i > disk[n].s /\ i <= Len(disk[n].log)
    /\ disk' = [disk EXCEPT ![n].s = i]
    /\ files' = [files EXCEPT ![n].made = {x \in @ : x > i}]
    /\ UNCHANGED <<vars, pend, synced, msgs, sent, early, asr>>

\* What is applied up to i is in the store of n's state machine.
SaveState(n, i) ==
    /\ Stores /\ Up(n) /\ i \in files[n].kept..applied[n]
    /\ files' = [files EXCEPT ![n].kept = i]
    /\ UNCHANGED <<vars, disks, msgs, sent, early, asr>>

\* Entries up to i leave the log that n keeps: the log here has them still.
CompactLog(n, i) ==
    /\ Up(n) /\ i > files[n].base /\ i <= disk[n].s
    /\ files' = [files EXCEPT ![n].base = i]
    /\ UNCHANGED <<vars, disks, msgs, sent, early, asr>>

\* A snapshot of the state at i, from the leader of term t, takes the place of what n has; its file
\* is durable.  The pool loses what the session table covers, by PoolDrops.
AsyncInstallSnapshot(n, t, i) ==
    LET P == Prefix(sent[t].log, i)
        new == Installed(n, P)
        cut == new # log[n]
        gone == IF Bug("pool-clear-at-snapshot") THEN pool[n] ELSE {}
        out == CHOOSE f \in Orders(gone) : TRUE
        outs == [j \in 1..Cardinality(gone) |-> Out(out[j])]
    IN /\ Snapshots /\ role[n] \in {"F", "C"}
       /\ t > 0 /\ (t = term[n] \/ (Bug("snapshot-stale-term") /\ t < term[n]))
       /\ sent[t].n \notin {Nil, n}
       /\ i > applied[n] /\ i <= sent[t].commit
       /\ SetLog(n, new)
       /\ commit' = [commit EXCEPT ![n] = Max({@, i})]
       /\ applied' = [applied EXCEPT ![n] = i]
       /\ pool' = [pool EXCEPT ![n] = @ \ gone]
       /\ Write(n, (IF cut THEN <<[Snap(new, TRUE) EXCEPT !.i = i]>> ELSE <<>>) \o outs)
       \* where the log stays, the record is as one of n's own snapshots
       /\ files' = [files EXCEPT ![n] = IF cut THEN [@ EXCEPT !.base = i] ELSE [@ EXCEPT !.made = @ \cup {i}]]
       /\ role' = [role EXCEPT ![n] = "F"]
       /\ UNCHANGED <<term, vote, lead, client, er, acks, reads, crashes, disk, synced, msgs, sent,
                      early, asr>>

(* -------------------------------- sessions ------------------------------ *)
LeaderAppends(n, e) ==
    /\ role[n] = "L" /\ ~Closing(n)
    /\ Extend(n, <<e>>, <<>>)
    /\ sent' = [sent EXCEPT ![term[n]].log = log'[n]]
    /\ UNCHANGED <<term, vote, role, commit, applied, pool, lead, client, er, acks, reads, crashes,
                   disk, synced, msgs, early, files, asr>>
AsyncSessionBegin(n, cl) ==
    /\ Sessions /\ ~ \E i \in 1..Len(log[n]) : log[n][i].k = "begin" /\ log[n][i].v = cl
    /\ LeaderAppends(n, Entry(term[n], "begin", cl))
\* asked again, it is appended again, which changes nothing
AsyncSessionEnd(n, cl) ==
    /\ Sessions /\ \E s \in Tables(n) : Live(s, cl)
    /\ LeaderAppends(n, Entry(term[n], "end", cl))

(* ------------------------ membership and shutdown ----------------------- *)
\* What one change can make of configuration g: a learner comes, is promoted, a member leaves, or
\* a member's address is another (which is not modelled: the configuration stays, its version not).
Changes(g) ==
    {[voters |-> g.voters, learners |-> g.learners \cup {m}] : m \in Node \ (g.voters \cup g.learners)}
      \cup {[voters |-> g.voters \cup {m}, learners |-> g.learners \ {m}] : m \in g.learners}
      \cup {[voters |-> g.voters \ {m}, learners |-> g.learners \ {m}] : m \in g.voters \cup g.learners}
      \cup {[voters |-> g.voters, learners |-> g.learners]}
\* One change at a time, the one before it applied, and not before the fast path is open.
AsyncAppendConfig(n, V, L) ==
    /\ barrier[n] = 0 \/ Bug("config-before-noop")
    /\ LET I == {i \in 1..Len(log[n]) : log[n][i].k = "config"}
       IN /\ Cardinality(I) < MaxConfig
          /\ \A i \in I : i <= applied[n] \/ Bug("config-two-at-once")
    /\ V # {} /\ [voters |-> V, learners |-> L] \in Changes(cfg[n])
    /\ LeaderAppends(n, [Entry(term[n], "config", Nil) EXCEPT !.cfg = V, !.lrn = L])

\* A command of the leader's own, which no client waits for.  (A leader that hands over or whose
\* node stops does not append one, which only its own bookkeeping says.)
AsyncAppendOwn(n) ==
    /\ barrier[n] = 0
    /\ Cardinality({i \in 1..Len(log[n]) : log[n][i].k = "own"}) < MaxOwn
    /\ LeaderAppends(n, Entry(term[n], "own", Nil))

\* The cluster's shutdown: an entry without effect on what is modelled.
AppendShutdown(n) == LeaderAppends(n, Entry(term[n], "shut", Nil))
\* A node that has applied it stops, once its hard state is durable: a crash that takes nothing.
ShutDown(n, i) ==
    /\ Up(n) /\ i \in 1..applied[n] /\ log[n][i].k = "shut"
    /\ role' = [role EXCEPT ![n] = "D"]
    /\ UNCHANGED <<term, vote, commit>> /\ WriteHard(n)
    /\ Depose(n)
    /\ UNCHANGED <<log, applied, cfg, pool, client, er, acks, reads, crashes,
                   disk, synced, msgs, sent, files, asr>>

(* --------------------------------- reads -------------------------------- *)
AsyncReadRequest(n, r) == ReadRequest(n, r) /\ UNCHANGED async

\* Q answered a round of heartbeats begun after the read arrived: each was in the leader's
\* term at some time since. A leader that its configuration left out leads still, and does not
\* count itself.
AsyncReadIndex(n, r, Q) ==
    /\ reads[r].st = "asked" /\ reads[r].n = n /\ role[n] = "L" /\ term[n] = reads[r].t
    /\ Q \subseteq cfg[n].voters /\ (n \in cfg[n].voters => n \in Q)
    /\ Cardinality(Q) >= Quorum(Cardinality(cfg[n].voters))
    /\ \A m \in Q : m \in reads[r].acks \/ term[m] = reads[r].t
    /\ commit[n] >= reads[r].idx \/ Bug("read-index-uncommitted")
    /\ reads' = [reads EXCEPT ![r].st = "index"]
    /\ UNCHANGED <<raft, pool, lead, client, er, acks, crashes, async>>

\* An answer that arrives twice may be used twice, if the client asks twice.
AsyncServeRead(n, r) ==
    /\ reads[r].st \in {"index", "served"} /\ Up(n)
    /\ applied[n] >= reads[r].idx
    /\ reads' = [reads EXCEPT ![r].st = "served",
                              ![r].saw = {c \in Cmd : Sees(r, c) /\ Took(Applied(n), c)}]
    /\ UNCHANGED <<raft, pool, lead, client, er, acks, crashes, async>>

(* --------------------------------- Next --------------------------------- *)
\* Left out, for the states they would make: what changes nothing (TransferLeader, CompactLog, the
\* shutdown and a node's end by it, which is one that stays down), LoseDisk, likewise.
AsyncNext ==
    \/ \E c \in Cmd : AsyncPropose(c)
    \/ \E c \in Cmd, e \in er, Q \in SUBSET Node : AsyncFastComplete(c, e, Q)
    \/ \E c \in Cmd : AsyncSyncedComplete(c)
    \/ \E n \in Node, c \in Cmd, fast \in BOOLEAN : AsyncLeaderPropose(n, c, fast)
    \/ \E n \in Node, c \in Cmd : Execute(n, c)
    \/ \E n \in Node, c \in Cmd, t \in 1..MaxTerm : AsyncWitnessRecord(n, c, t, cfg[n].ver)
    \/ \E n \in Node, c \in Cmd : AsyncPoolDrop(n, c)
    \/ \E n \in Node : \E k \in 1..(Len(log[n]) + 1) : AsyncAcceptEntries(n, k)
    \/ \E n, m \in Node : \E k \in 1..Len(log[n]) : Matched(n, m, k)
    \/ \E n \in Node : \E k \in 1..Len(log[n]) : AsyncAdvanceCommit(n, k)
    \/ \E n \in Node : \E k \in 1..Len(log[n]) : FollowCommit(n, k)
    \/ \E n \in Node : Apply(n)
    \/ \E n \in Node : OpenFastPath(n)
    \/ \E n \in Node, t \in 1..MaxTerm : AsyncUpdateTerm(n, t)
    \/ \E n \in Node : Campaign(n)
    \/ \E n, m \in Node : GrantVote(n, m)
    \/ \E n, m \in Node : RepeatVote(n, m)
    \/ \E n \in Node : \E B \in SUBSET {b \in cast : b.to = n /\ b.t = term[n]} :
         \E S \in SUBSET Cmd : \E s \in Orders(S) : AsyncBecomeLeader(n, B, s)
    \/ \E n \in Node : StepDown(n)
    \/ \E n \in Node : \E k \in 1..Len(pend[n]) : Persist(n, k)
    \/ \E n \in Node : Crash(n)
    \/ \E n \in Node : \E j \in 0..Len(pend[n]), x \in 0..Len(log[n]) :
         \E s \in IF Stores THEN x..Max({x, applied[n]}) ELSE {x} : Restart(n, j, x, Min2(files[n].base, x), s)
    \/ \E n \in Node : Bug("repaired-node-votes") /\ disk[n] # NoDisk /\ LoseDisk(n)
    \/ \E n \in Node : TakeSnapshot(n)
    \/ \E n \in Node : applied[n] > files[n].kept /\ SaveState(n, applied[n])
    \/ \E n \in Node : \E i \in files[n].made : SaveSnapshot(n, i)
    \/ \E n \in Node, t \in 1..MaxTerm : \E i \in 1..sent[t].commit : AsyncInstallSnapshot(n, t, i)
    \/ \E n \in Node, cl \in Client : AsyncSessionBegin(n, cl)
    \/ \E n \in Node, cl \in Client : AsyncSessionEnd(n, cl)
    \/ \E n \in Node : MaxConfig > 0 /\ \E g \in Changes(cfg[n]) : AsyncAppendConfig(n, g.voters, g.learners)
    \/ \E n \in Node : MaxOwn > 0 /\ AsyncAppendOwn(n)
    \/ \E n \in Node, r \in Read : AsyncReadRequest(n, r)
    \/ \E n \in Node, r \in Read, Q \in SUBSET Node : AsyncReadIndex(n, r, Q)
    \/ \E n \in Node, r \in Read : AsyncServeRead(n, r)

(* ------------------------------ invariants ------------------------------ *)
\* what a node has in memory is what its disk will hold once all is written
DiskFollows == Bugs \cap AsyncBugs = {} => \A n \in Node : Up(n) =>
                 LET d == FoldAll(disk[n], pend[n])
                 IN d.t = term[n] /\ d.v = vote[n] /\ d.log = log[n] /\ d.pool = pool[n]
\* a term has one leader, ever
OneLeader   == [][\A t \in 1..MaxTerm : sent[t].n \in {Nil, sent'[t].n}]_<<vars, async>>
SentIsLog   == \A n \in Leaders : sent[term[n]].n = n /\ sent[term[n]].log = log[n]
=============================================================================
