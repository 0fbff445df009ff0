-------------------------------- MODULE Lease --------------------------------
(* One lease under drifting clocks, pauses and changes of leader.            *)
(*                                                                           *)
(* Raft is abstract: `log` is the log of the newest leader; an election may  *)
(* lose any of its uncommitted tail and appends a no-op; what a deposed      *)
(* leader appends goes nowhere.  Time is not a number but what is left of    *)
(* it: one Tick is D units of true time, in which each clock runs on by      *)
(* D - 1 or D + 1 units, so rho = 1/D, and deadlines count down.  So there   *)
(* is no bound on time, and the models are exhausted.  A paused node is one  *)
(* that takes no step; its clock runs on.                                    *)
(*                                                                           *)
(* Invariants: a lease whose keep-alive was answered lives TTL/(1 + rho)     *)
(* from its sending; a holder that believes in it, on its own clock, for     *)
(* TTL (1 - rho)/(1 + rho) is right; replicas agree.                         *)
(*                                                                           *)
(* Not here on purpose: keys and revisions, revokes asked for by clients     *)
(* (a holder that asks has given up its belief), the bound on late expiry    *)
(* and the retry of lost revokes (liveness).                                 *)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS Node, Nil, TTL, D, MaxTerm, MaxLog, Bugs

BugNames == { "lease-wall-clock", "lease-stamp-vs-current", "lease-stale-tick",
              "lease-follower-expires", "lease-keepalive-stale", "lease-no-promote",
              "lease-keepalive-after-expiry", "lease-answer-no-recheck" }
ASSUME Bugs \subseteq BugNames
ASSUME TTL % (D + 1) = 0 /\ D > 1
Bug(b) == b \in Bugs

Sure   == (TTL \div (D + 1)) * D          \* TTL/(1 + rho), true time
Belief == (TTL \div (D + 1)) * (D - 1)    \* TTL (1 - rho)/(1 + rho), holder's clock

VARIABLES
  term, log, commit,     \* newest leader's term and log: sequence of [t, k, stamp]
  heard, leads,          \* per node: its term; whether it believes that it leads
  applied, alive,        \* per node: applied index; whether the lease exists there
  left,                  \* per node: units of its clock until the lease's deadline
  lag,                   \* per node: units of its clock since a timer last read it
                         \* (kept only for "lease-stale-tick")
  primary, expiring,     \* per leader: promoted; decided to expire the lease
  decided,               \* stamps of the revokes decided
  ka,                    \* the keep-alive under way: [st, n, t, true, own]: since it was
                         \* sent, true time and time on the holder's clock
  sure, belief           \* what is left of the client's guarantee, and of its belief
Nodes == Permutations(Node)
vars == <<term, log, commit, heard, leads, applied, alive, left, lag, primary, expiring, decided,
          ka, sure, belief>>

Max2(a, b) == IF a > b THEN a ELSE b
Min2(a, b) == IF a < b THEN a ELSE b
Less(a, b) == Max2(a - b, 0)
Entry(t, k, s) == [t |-> t, k |-> k, stamp |-> s]
NoKa == [st |-> "no", n |-> Nil, t |-> 0, true |-> 0, own |-> 0]

\* a leader of term 1 with the fast path open, and a lease that every node has applied
Init ==
    /\ term = 1 /\ log = <<Entry(1, "noop", 0), Entry(1, "grant", 0)>> /\ commit = 2
    /\ heard = [n \in Node |-> 1]
    /\ \E l \in Node : leads = [n \in Node |-> n = l] /\ primary = leads
    /\ applied = [n \in Node |-> 2] /\ alive = [n \in Node |-> TRUE]
    /\ left = [n \in Node |-> TTL] /\ lag = [n \in Node |-> 0]
    /\ expiring = [n \in Node |-> FALSE] /\ decided = {}
    /\ ka = NoKa /\ sure = 0 /\ belief = 0

(* --------------------------------- time --------------------------------- *)
Runs == {D - 1, D + 1} \cup (IF Bug("lease-wall-clock") THEN {TTL} ELSE {})
Tick ==
    /\ \E run \in [Node -> Runs], own \in {D - 1, D + 1} :
         /\ left' = [n \in Node |-> Less(left[n], run[n])]
         /\ lag' = IF Bug("lease-stale-tick") THEN [n \in Node |-> Min2(lag[n] + run[n], TTL)]
                   ELSE lag
         /\ belief' = Less(belief, own)
         /\ ka' = IF ka.st = "no" THEN ka
                  ELSE [ka EXCEPT !.true = Min2(@ + D, Sure), !.own = Min2(@ + own, Belief)]
    /\ sure' = Less(sure, D)
    /\ UNCHANGED <<term, log, commit, heard, leads, applied, alive, primary, expiring, decided>>
\* the node's timer reads the clock
ReadTimer(n) ==
    /\ lag[n] > 0
    /\ lag' = [lag EXCEPT ![n] = 0]
    /\ UNCHANGED <<term, log, commit, heard, leads, applied, alive, left, primary, expiring,
                   decided, ka, sure, belief>>

(* ------------------------------ keep-alive ------------------------------ *)
node == <<term, log, commit, heard, leads, applied, alive, lag, primary, decided>>
SendKeepAlive ==
    /\ ka' = [NoKa EXCEPT !.st = "sent"] /\ ka # ka'
    /\ UNCHANGED <<node, left, expiring, sure, belief>>
\* The deadline is set at receipt, by the clock as it reads now.
ReceiveKeepAlive(n) ==
    /\ ka.st = "sent" /\ leads[n] /\ primary[n] /\ alive[n]
    /\ ~expiring[n] \/ Bug("lease-keepalive-after-expiry")
    /\ left' = [left EXCEPT ![n] = IF Bug("lease-stale-tick") THEN Less(TTL, lag[n]) ELSE TTL]
    /\ ka' = [ka EXCEPT !.st = IF Bug("lease-keepalive-stale") THEN "confirmed" ELSE "received",
                        !.n = n, !.t = heard[n]]
    /\ UNCHANGED <<node, expiring, sure, belief>>
\* A leadership round begun after receipt: no newer leader exists.
ConfirmRound(n) ==
    /\ ka.st = "received" /\ ka.n = n /\ leads[n] /\ heard[n] = ka.t /\ ka.t = term
    /\ ka' = [ka EXCEPT !.st = "confirmed"]
    /\ UNCHANGED <<node, left, expiring, sure, belief>>
\* Same term and not expiring are checked again.
AnswerKeepAlive(n) ==
    /\ ka.st = "confirmed" /\ ka.n = n
    /\ \/ leads[n] /\ heard[n] = ka.t /\ (~expiring[n] \/ Bug("lease-keepalive-after-expiry"))
       \/ Bug("lease-answer-no-recheck")
    /\ sure' = Max2(sure, Sure - ka.true)
    /\ belief' = Max2(belief, Belief - ka.own)
    /\ ka' = NoKa
    /\ UNCHANGED <<node, left, expiring>>

(* -------------------------------- expiry -------------------------------- *)
\* The leader decides; from now on it answers no keep-alive.  The revoke is stamped.
DecideExpiry(n) ==
    /\ leads[n] /\ primary[n] /\ alive[n] /\ left[n] = 0 /\ ~expiring[n]
    /\ expiring' = [expiring EXCEPT ![n] = TRUE]
    /\ decided' = decided \cup {heard[n]}
    /\ UNCHANGED <<term, log, commit, heard, leads, applied, alive, left, lag, primary, ka, sure, belief>>
\* A revoke reaches the newest leader's log at any time, queued or handed over by whoever
\* decided it, and as often as it is tried again.
AppendRevoke(s) ==
    /\ s \in decided /\ Len(log) < MaxLog /\ \E n \in Node : leads[n] /\ heard[n] = term
    /\ log' = Append(log, Entry(term, "revoke", s))
    /\ UNCHANGED <<term, commit, heard, leads, applied, alive, left, lag, primary, expiring,
                   decided, ka, sure, belief>>

(* ------------------------- the log and leadership ----------------------- *)
Commit ==
    /\ commit < Len(log) /\ \E n \in Node : leads[n] /\ heard[n] = term
    /\ \E k \in (commit + 1)..Len(log) : log[k].t = term /\ commit' = k
    /\ UNCHANGED <<term, log, heard, leads, applied, alive, left, lag, primary, expiring, decided,
                   ka, sure, belief>>
\* a revoke takes effect unless its stamp differs from the term of the entry that carries it
Valid(n, e) == IF Bug("lease-follower-expires") THEN TRUE
               ELSE e.stamp = (IF Bug("lease-stamp-vs-current") THEN heard[n] ELSE e.t)
Apply(n) ==
    /\ applied[n] < commit
    /\ LET e == log[applied[n] + 1]
       IN /\ leads[n] => e.t <= heard[n]     \* else it hears of the newer term first
          /\ alive' = [alive EXCEPT ![n] = @ /\ ~(e.k = "revoke" /\ Valid(n, e))]
          /\ IF leads[n] /\ e.k = "noop" /\ e.t = heard[n]
             THEN /\ primary' = [primary EXCEPT ![n] = TRUE]
                  /\ left' = [left EXCEPT ![n] = IF Bug("lease-no-promote") THEN @ ELSE TTL]
             ELSE UNCHANGED <<primary, left>>
    /\ applied' = [applied EXCEPT ![n] = @ + 1]
    /\ UNCHANGED <<term, log, commit, heard, leads, lag, expiring, decided, ka, sure, belief>>
Elect(n) ==
    /\ term < MaxTerm /\ term' = term + 1
    /\ \E k \in commit..Len(log) : log' = Append(SubSeq(log, 1, k), Entry(term', "noop", 0))
    /\ heard' = [heard EXCEPT ![n] = term']
    /\ leads' = [leads EXCEPT ![n] = TRUE]
    /\ primary' = [primary EXCEPT ![n] = FALSE]
    /\ expiring' = [expiring EXCEPT ![n] = FALSE]
    /\ UNCHANGED <<commit, applied, alive, left, lag, decided, ka, sure, belief>>
\* a node hears of the newest term, or restarts: it demotes at once
UpdateTerm(n) ==
    /\ \E t \in {heard[n], term} : heard' = [heard EXCEPT ![n] = t]
    /\ leads' = [leads EXCEPT ![n] = FALSE]
    /\ primary' = [primary EXCEPT ![n] = FALSE]
    /\ expiring' = [expiring EXCEPT ![n] = FALSE]
    /\ heard[n] < term \/ leads[n]
    /\ UNCHANGED <<term, log, commit, applied, alive, left, lag, decided, ka, sure, belief>>

Next ==
    \/ Tick
    \/ \E n \in Node : ReadTimer(n)
    \/ SendKeepAlive
    \/ \E n \in Node : ReceiveKeepAlive(n)
    \/ \E n \in Node : ConfirmRound(n)
    \/ \E n \in Node : AnswerKeepAlive(n)
    \/ \E n \in Node : DecideExpiry(n)
    \/ \E s \in 1..MaxTerm : AppendRevoke(s)
    \/ Commit
    \/ \E n \in Node : Apply(n)
    \/ \E n \in Node : Elect(n)
    \/ \E n \in Node : UpdateTerm(n)
Spec == Init /\ [][Next]_vars

(* ------------------------------ invariants ------------------------------ *)
TypeOK ==
    /\ term \in 1..MaxTerm /\ commit \in 0..Len(log) /\ decided \subseteq 1..MaxTerm
    /\ \A n \in Node : /\ heard[n] \in 1..term /\ applied[n] \in 0..commit
                       /\ left[n] \in 0..TTL /\ lag[n] \in 0..TTL
                       /\ primary[n] => leads[n]
    /\ ka.st \in {"no", "sent", "received", "confirmed"}
    /\ sure \in 0..Sure /\ belief \in 0..Belief
Gone == \E n \in Node : ~alive[n]
\* no early expiry
AliveWhileSure == sure > 0 => ~Gone
\* so two holders never believe at once: the second one gets the lock when it is gone
HolderIsRight  == belief > 0 => ~Gone
Agree          == \A m, n \in Node : applied[m] = applied[n] => alive[m] = alive[n]

(* ------------- reachability: each of these TLC must violate ------------- *)
NeverExpired  == ~Gone
NeverPromoted == ~ \E n \in Node : primary[n] /\ heard[n] > 1
NeverRefused  == ~ \E n \in Node : alive[n] /\ \E i \in 1..applied[n] : log[i].k = "revoke"
NeverBelieved == belief = 0
NeverTwoLead  == Cardinality({n \in Node : leads[n]}) < 2
=============================================================================
