-------------------------------- MODULE Lease --------------------------------
(* One lease under drifting clocks, pauses and changes of leader.            *)
(*                                                                           *)
(* Raft is abstract: `logs` is what the leader of each term has in its log.  *)
(* An election begins from any part of an earlier leader's log that has all  *)
(* that is committed, and appends a no-op; a deposed leader that does not    *)
(* know it goes on, and what it appends may come back by a later election.   *)
(* Time is not a number but what is left of it: one Tick is D units of true  *)
(* time, in which each clock runs on by D - 1 or D + 1 units, so rho = 1/D,  *)
(* and deadlines count down.  So there is no bound on time, and the models   *)
(* are exhausted.  A paused node is one that takes no step; its clock runs   *)
(* on.                                                                       *)
(*                                                                           *)
(* Invariants: a lease whose keep-alive was answered lives TTL/(1 + rho)     *)
(* from its sending; a holder that believes in it, on its own clock, for     *)
(* TTL (1 - rho)/(1 + rho) is right; replicas agree.                         *)
(*                                                                           *)
(* TraceLease.tla holds traces against these actions, with a clock of its    *)
(* own.  Not here on purpose: keys and revisions, the bound on late expiry   *)
(* and that a decision is tried until it is in a log (liveness).             *)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS
  Node, Nil,
  Ka,                    \* names of keep-alives
  TTL, D,                \* the longest time to live; 1/rho
  MaxTerm, MaxLog,       \* bounds
  Clients,               \* whether clients revoke the lease and grant it again
  Restarts,              \* whether nodes restart, and install snapshots
  Bugs

BugNames == { "lease-wall-clock", "lease-stamp-vs-current", "lease-stale-tick",
              "lease-follower-expires", "lease-keepalive-stale", "lease-no-promote",
              "lease-keepalive-after-expiry", "lease-answer-no-recheck",
              "lease-answer-no-wait", "lease-revoke-twice",
              "lease-revoke-behind-grant" }
ASSUME Bugs \subseteq BugNames
ASSUME D > 1
Bug(b) == b \in Bugs

\* a divided by b, rounded up
Up(a, b)  == IF a % b = 0 THEN a \div b ELSE (a \div b) + 1
Sure(l)   == l - Up(l, D + 1)             \* l/(1 + rho), true time
Belief(l) == l - Up(2 * l, D + 1)         \* l (1 - rho)/(1 + rho), holder's clock

VARIABLES
  term,                  \* the newest term that has a leader
  logs,                  \* per term, its leader's log: sequence of [t, k, v]; v: the time to live of
                         \* a grant, the stamp of a revoke (0: a client's); <<>>: no leader
  commit,                \* so much of the newest leader's log is committed
  heard, leads,          \* per node: its term; whether it believes that it leads
  applied, lives,        \* per node: applied index; the lease's time to live, 0 if it is not there
  left,                  \* per node: units of its clock until the lease's deadline
  lag,                   \* per node: units of its clock since a timer last read it
                         \* (kept only for "lease-stale-tick")
  primary, expiring,     \* per leader: promoted; decided to expire the lease
  decided,               \* stamps of the revokes decided
  ka,                    \* keep-alives: [st, n, t, ok, idx, true, own]: who received it and in which
                         \* term; whether no newer leader was then; the index that is waited for;
                         \* since it was sent, true time and time on the holder's clock
  sure, belief,          \* what is left of the client's guarantee, and of its belief
  first, gone            \* entries up to here were applied somewhere; whether the lease expired by them
Nodes == Permutations(Node)
vars == <<term, logs, commit, heard, leads, applied, lives, left, lag, primary, expiring, decided,
          ka, sure, belief, first, gone>>

Max(S)     == CHOOSE x \in S : \A y \in S : y <= x
Max2(a, b) == IF a > b THEN a ELSE b
Min2(a, b) == IF a < b THEN a ELSE b
Less(a, b) == Max2(a - b, 0)
Prefix(s, i) == SubSeq(s, 1, i)
Entry(t, k, v) == [t |-> t, k |-> k, v |-> v]
NoKa == [st |-> "no", n |-> Nil, t |-> 0, ok |-> FALSE, idx |-> 0, true |-> 0, own |-> 0]
log == IF term = 0 THEN <<>> ELSE logs[term]
LogOf(n) == IF heard[n] = 0 THEN <<>> ELSE logs[heard[n]]
OfLease(e) == e.k \in {"grant", "revoke"}

\* a leader of term 1 with the fast path open, and a lease that every node has applied
Init ==
    /\ term = 1 /\ commit = 2
    /\ logs = [t \in 1..MaxTerm |-> IF t = 1 THEN <<Entry(1, "noop", 0), Entry(1, "grant", TTL)>> ELSE <<>>]
    /\ heard = [n \in Node |-> 1]
    /\ \E l \in Node : leads = [n \in Node |-> n = l] /\ primary = leads
    /\ applied = [n \in Node |-> 2] /\ lives = [n \in Node |-> TTL]
    /\ left = [n \in Node |-> TTL] /\ lag = [n \in Node |-> 0]
    /\ expiring = [n \in Node |-> FALSE] /\ decided = {}
    /\ ka = [k \in Ka |-> NoKa] /\ sure = 0 /\ belief = 0 /\ first = 2 /\ gone = FALSE

(* --------------------------------- time --------------------------------- *)
\* d units of true time, run[n] on the clock of n, own on the holder's
Elapse(d, run, own) ==
    /\ left' = [n \in Node |-> Less(left[n], run[n])]
    /\ lag' = IF Bug("lease-stale-tick") THEN [n \in Node |-> Min2(lag[n] + run[n], TTL)]
              ELSE lag
    /\ belief' = Less(belief, own)
    /\ ka' = [k \in Ka |-> IF ka[k].st = "no" THEN ka[k]
                ELSE [ka[k] EXCEPT !.true = Min2(@ + d, Sure(TTL)), !.own = Min2(@ + own, Belief(TTL))]]
    /\ sure' = Less(sure, d)
    /\ UNCHANGED <<term, logs, commit, heard, leads, applied, lives, primary, expiring, decided,
                   first, gone>>
Runs == {D - 1, D + 1} \cup (IF Bug("lease-wall-clock") THEN {TTL} ELSE {})
Tick == \E run \in [Node -> Runs], own \in {D - 1, D + 1} : Elapse(D, run, own)
\* the node's timer reads the clock
ReadTimer(n) ==
    /\ lag[n] > 0
    /\ lag' = [lag EXCEPT ![n] = 0]
    /\ UNCHANGED <<term, logs, commit, heard, leads, applied, lives, left, primary, expiring,
                   decided, ka, sure, belief, first, gone>>

(* ------------------------------ keep-alive ------------------------------ *)
node == <<term, logs, commit, heard, leads, applied, lives, lag, primary, expiring, decided, first, gone>>
\* Sent: all of K at once, for a request may be sent again to another node.
SendKeepAlive(K) ==
    /\ ka' = [k \in Ka |-> IF k \in K THEN [NoKa EXCEPT !.st = "sent"] ELSE ka[k]]
    /\ ka # ka'
    /\ UNCHANGED <<node, left, sure, belief>>
\* The last entry in n's log that an answer must wait for.
Conflicting(n) == Max({0} \cup {i \in 1..Len(LogOf(n)) : OfLease(LogOf(n)[i])})
\* The deadline is set at receipt, by the clock as it reads now, if there is such a lease and it is
\* not given up.  x is the read index.
ReceiveKeepAlive(n, k, x) ==
    /\ ka[k].st = "sent" /\ leads[n] /\ primary[n]
    /\ x >= Conflicting(n) \/ Bug("lease-answer-no-wait")
    /\ left' = [left EXCEPT ![n] =
                  IF lives[n] = 0 \/ (expiring[n] /\ ~Bug("lease-keepalive-after-expiry")) THEN @
                  ELSE IF Bug("lease-stale-tick") THEN Less(lives[n], lag[n]) ELSE lives[n]]
    /\ ka' = [ka EXCEPT ![k].st = IF Bug("lease-keepalive-stale") THEN "confirmed" ELSE "received",
                        ![k].n = n, ![k].t = heard[n], ![k].ok = (heard[n] = term), ![k].idx = x]
    /\ UNCHANGED <<node, sure, belief>>
\* A leadership round begun after receipt has reached a quorum: there was no newer leader when it began.
ConfirmRound(n, k) ==
    /\ ka[k].st = "received" /\ ka[k].n = n /\ leads[n] /\ heard[n] = ka[k].t /\ ka[k].ok
    /\ ka' = [ka EXCEPT ![k].st = "confirmed"]
    /\ UNCHANGED <<node, left, sure, belief>>
\* Same term, the lease there and not given up are checked again, once all that conflicted is applied.
AnswerKeepAlive(n, k) ==
    /\ ka[k].st = "confirmed" /\ ka[k].n = n /\ applied[n] >= ka[k].idx
    /\ \/ /\ leads[n] /\ primary[n] /\ heard[n] = ka[k].t /\ lives[n] > 0
          /\ ~expiring[n] \/ Bug("lease-keepalive-after-expiry")
       \/ Bug("lease-answer-no-recheck")
    /\ sure' = Max2(sure, Sure(lives[n]) - ka[k].true)
    /\ belief' = Max2(belief, Belief(lives[n]) - ka[k].own)
    /\ ka' = [ka EXCEPT ![k] = NoKa]
    /\ UNCHANGED <<node, left>>
\* There is no such lease, or it is given up: so the client is told.
RefuseKeepAlive(n, k) ==
    /\ ka[k].st = "confirmed" /\ ka[k].n = n /\ applied[n] >= ka[k].idx
    /\ leads[n] /\ primary[n] /\ heard[n] = ka[k].t
    /\ lives[n] = 0 \/ expiring[n]
    /\ ka' = [ka EXCEPT ![k] = NoKa]
    /\ UNCHANGED <<node, left, sure, belief>>

(* -------------------------------- expiry -------------------------------- *)
\* The leader decides; from now on it answers no keep-alive.
DecideExpiry(n) ==
    /\ leads[n] /\ primary[n] /\ lives[n] > 0 /\ left[n] = 0 /\ ~expiring[n]
    /\ expiring' = [expiring EXCEPT ![n] = TRUE]
    /\ decided' = decided \cup {heard[n]}
    /\ UNCHANGED <<term, logs, commit, heard, leads, applied, lives, left, lag, primary, ka, sure,
                   belief, first, gone>>
AppendTo(n, e) ==
    /\ leads[n]
    /\ logs' = [logs EXCEPT ![heard[n]] = Append(@, e)]
    /\ UNCHANGED <<term, commit, heard, leads, applied, lives, left, lag, primary, expiring,
                   decided, ka, sure, belief, first, gone>>
Unapplied(n) == {LogOf(n)[i] : i \in (applied[n] + 1)..Len(LogOf(n))}
\* Its revoke, stamped with its term, is tried until its log has it; while it leads, that one will be
\* committed.  Behind a grant that is not applied it would end another lease than that decided about.
AppendRevoke(n) ==
    /\ primary[n] /\ expiring[n]
    /\ Bug("lease-revoke-twice") \/ \A e \in Unapplied(n) : e.k # "revoke" \/ e.v = 0
    /\ Bug("lease-revoke-behind-grant") \/ \A e \in Unapplied(n) : e.k # "grant"
    /\ AppendTo(n, Entry(heard[n], "revoke", heard[n]))
\* A revoke that another leader decided, queued or handed over, reaches a log.  (core/ hands none over.)
HandOver(n, s) ==
    /\ s \in decided /\ s # heard[n]
    /\ AppendTo(n, Entry(heard[n], "revoke", s))
\* A client asks for the lease, or for its end: it has given up its belief.
AppendGrant(n, l) == AppendTo(n, Entry(heard[n], "grant", l))
AppendClients(n)  == AppendTo(n, Entry(heard[n], "revoke", 0))

(* ------------------------- the log and leadership ----------------------- *)
\* A leader commits by counting an entry of its own term; every newer leader has it then.
Commit(n, k) ==
    /\ leads[n] /\ k > commit /\ k <= Len(LogOf(n)) /\ LogOf(n)[k].t = heard[n]
    /\ \A t \in (heard[n] + 1)..term : logs[t] # <<>> => Len(logs[t]) >= k /\ Prefix(logs[t], k) = Prefix(LogOf(n), k)
    /\ commit' = k
    /\ UNCHANGED <<term, logs, heard, leads, applied, lives, left, lag, primary, expiring, decided,
                   ka, sure, belief, first, gone>>
\* A revoke takes effect unless its stamp differs from the term of the entry that carries it; a
\* client's has none.
Valid(n, e) == \/ e.v = 0
               \/ Bug("lease-follower-expires")
               \/ e.v = (IF Bug("lease-stamp-vs-current") THEN heard[n] ELSE e.t)
After(n, l, e) == IF e.k = "grant" /\ l = 0 THEN e.v
                  ELSE IF e.k = "revoke" /\ Valid(n, e) THEN 0 ELSE l
Apply(n) ==
    /\ applied[n] < commit
    /\ LET i == applied[n] + 1
           e == log[i]
           new == After(n, lives[n], e)
           ends == new = 0 /\ lives[n] > 0
           begins == new > 0 /\ lives[n] = 0
       IN /\ leads[n] => e.t <= heard[n]     \* else it hears of the newer term first
          /\ applied' = [applied EXCEPT ![n] = i]
          /\ lives' = [lives EXCEPT ![n] = new]
          /\ left' = IF begins THEN [left EXCEPT ![n] = new] ELSE left
          /\ expiring' = IF ends THEN [expiring EXCEPT ![n] = FALSE] ELSE expiring
          /\ first' = Max2(first, i)
          \* promises are of the lease that there was
          /\ IF i > first /\ (begins \/ (ends /\ e.v = 0))
             THEN gone' = FALSE /\ sure' = 0 /\ belief' = 0
             ELSE /\ gone' = (gone \/ (i > first /\ ends))
                  /\ UNCHANGED <<sure, belief>>
    /\ UNCHANGED <<term, logs, commit, heard, leads, lag, primary, decided, ka>>
\* A leader whose no-op is applied gives every lease its full time.
Promote(n) ==
    /\ leads[n] /\ ~primary[n]
    /\ \E i \in 1..applied[n] : LogOf(n)[i] = Entry(heard[n], "noop", 0)
    /\ primary' = [primary EXCEPT ![n] = TRUE]
    /\ left' = [left EXCEPT ![n] = IF Bug("lease-no-promote") THEN @ ELSE lives[n]]
    /\ UNCHANGED <<term, logs, commit, heard, leads, applied, lives, lag, expiring, decided, ka,
                   sure, belief, first, gone>>
Follow(n, t) ==
    /\ heard' = [heard EXCEPT ![n] = t]
    /\ leads' = [leads EXCEPT ![n] = FALSE]
    /\ primary' = [primary EXCEPT ![n] = FALSE]
    /\ expiring' = [expiring EXCEPT ![n] = FALSE]
\* n leads in term t, with the first k entries of the log of the leader of term b.  One that wins
\* when a newer leader was elected will never commit anything.
Elect(n, t, b, k) ==
    /\ t \in 1..MaxTerm /\ logs[t] = <<>> /\ t >= heard[n] /\ ~(leads[n] /\ heard[n] = t)
    /\ b < t
    /\ LET old == IF b = 0 THEN <<>> ELSE logs[b]
       IN /\ k <= Len(old)
          /\ t > term => k >= commit /\ Prefix(old, commit) = Prefix(log, commit)
          /\ logs' = [logs EXCEPT ![t] = Append(Prefix(old, k), Entry(t, "noop", 0))]
    /\ term' = Max2(term, t)
    /\ heard' = [heard EXCEPT ![n] = t]
    /\ leads' = [leads EXCEPT ![n] = TRUE]
    /\ primary' = [primary EXCEPT ![n] = FALSE]
    /\ expiring' = [expiring EXCEPT ![n] = FALSE]
    /\ UNCHANGED <<commit, applied, lives, left, lag, decided, ka, sure, belief, first, gone>>
\* a node hears of a later term, or hears of no quorum in its own: it demotes at once
UpdateTerm(n, t) ==
    /\ heard[n] < t \/ (leads[n] /\ heard[n] = t)
    /\ Follow(n, t)
    /\ UNCHANGED <<term, logs, commit, applied, lives, left, lag, decided, ka, sure, belief, first, gone>>
\* what the first k entries come to, by the protocol's rule
RECURSIVE Fold(_, _)
Fold(s, l) == IF s = <<>> THEN l
              ELSE Fold(Tail(s), LET e == Head(s)
                                 IN IF e.k = "grant" /\ l = 0 THEN e.v
                                    ELSE IF e.k = "revoke" /\ e.v \in {0, e.t} THEN 0 ELSE l)
JumpTo(n, k) == /\ applied' = [applied EXCEPT ![n] = k]
                /\ lives' = [lives EXCEPT ![n] = Fold(Prefix(log, k), 0)]
                /\ left' = [left EXCEPT ![n] = 0]
\* It starts from the state at k, and its log is applied again from there on.
Restart(n, t, k) ==
    /\ k <= applied[n] /\ t <= heard[n]
    /\ Follow(n, t) /\ JumpTo(n, k)
    /\ UNCHANGED <<term, logs, commit, lag, decided, ka, sure, belief, first, gone>>
\* A leader's state at k takes the place of a follower's.
InstallSnapshot(n, k) ==
    /\ ~leads[n] /\ k >= applied[n] /\ k <= commit
    /\ JumpTo(n, k)
    /\ UNCHANGED <<term, logs, commit, heard, leads, lag, primary, expiring, decided, ka, sure,
                   belief, first, gone>>

\* bounds: only the newest leader's log grows beyond what an election can bring back
Room(n) == Len(LogOf(n)) < MaxLog /\ leads[n] /\ (heard[n] = term \/ term < MaxTerm)
Next ==
    \/ Tick
    \/ \E n \in Node : ReadTimer(n)
    \/ \E k \in Ka : SendKeepAlive({k})
    \/ \E n \in Node, k \in Ka : ReceiveKeepAlive(n, k, IF Bug("lease-answer-no-wait") THEN 0 ELSE Conflicting(n))
    \/ \E n \in Node, k \in Ka : ConfirmRound(n, k)
    \/ \E n \in Node, k \in Ka : AnswerKeepAlive(n, k)
    \/ \E n \in Node, k \in Ka : RefuseKeepAlive(n, k)
    \/ \E n \in Node : DecideExpiry(n)
    \/ \E n \in Node : Room(n) /\ AppendRevoke(n)
    \/ \E n \in Node, s \in 1..MaxTerm : Room(n) /\ HandOver(n, s)
    \/ \E n \in Node : Clients /\ Room(n) /\ (AppendGrant(n, TTL) \/ AppendClients(n))
    \/ \E n \in Node, k \in (commit + 1)..MaxLog : Commit(n, k)
    \/ \E n \in Node : Apply(n)
    \/ \E n \in Node : Promote(n)
    \/ \E n \in Node, b \in 1..term, k \in 1..MaxLog : Elect(n, term + 1, b, k)
    \/ \E n \in Node, t \in 1..term : UpdateTerm(n, t)
    \/ \E n \in Node, k \in 0..commit : Restarts /\ (Restart(n, heard[n], k) \/ (k > applied[n] /\ InstallSnapshot(n, k)))
Spec == Init /\ [][Next]_vars

(* ------------------------------ invariants ------------------------------ *)
TypeOK ==
    /\ term \in 0..MaxTerm /\ commit \in 0..Len(log) /\ decided \subseteq 1..MaxTerm
    /\ \A n \in Node : /\ heard[n] \in 0..MaxTerm /\ applied[n] \in 0..commit
                       /\ lives[n] \in 0..TTL /\ left[n] \in 0..TTL /\ lag[n] \in 0..TTL
                       /\ primary[n] => leads[n]
                       /\ expiring[n] => primary[n] /\ lives[n] > 0
    /\ \A k \in Ka : ka[k].st \in {"no", "sent", "received", "confirmed"}
    /\ sure \in 0..Sure(TTL) /\ belief \in 0..Belief(TTL)
\* no early expiry
AliveWhileSure == sure > 0 => ~gone
\* so two holders never believe at once: the second one gets the lock when it is gone
HolderIsRight  == belief > 0 => ~gone
Agree          == \A m, n \in Node : applied[m] = applied[n] => lives[m] = lives[n]

(* ------------- reachability: each of these TLC must violate ------------- *)
NeverExpired  == ~gone
NeverPromoted == ~ \E n \in Node : primary[n] /\ heard[n] > 1
NeverRefused  == ~ \E n \in Node : lives[n] > 0 /\ \E i \in 1..applied[n] : log[i].k = "revoke"
NeverBelieved == belief = 0
NeverTwoLead  == Cardinality({n \in Node : leads[n]}) < 2
\* an entry that an election lost comes back by a later one
NeverBack     == ~ (term = 3 /\ \E i \in 1..Len(logs[3]) : i < Len(logs[3]) /\ logs[3][i].t = 1
                                                        /\ (i > Len(logs[2]) \/ logs[2][i] # logs[3][i]))
NeverAgain    == ~ (sure > 0 /\ \E i \in 3..first : log[i].k = "grant")
=============================================================================
