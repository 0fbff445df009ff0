----------------------------- MODULE TraceLease -----------------------------
(* Holds traces against Lease.tla: each is what a run's trace says of one    *)
(* lease.  Each step must be the action that it names, with the values that  *)
(* were logged; nothing else may happen in between.  `cargo sim conform      *)
(* --tlc` generates LeaseData (the steps, one sequence for each lease of     *)
(* each run) and reads how far each got.                                     *)
(*                                                                           *)
(* Time.  Lease.tla counts what is left, in units; here a unit is a          *)
(* microsecond, and Elapse takes as much of it as passed between two steps.  *)
(* A node's clock is known where it was read: two readings of it must differ *)
(* by the true time between them, within rho = 1/D.  Where it was not read   *)
(* (a grant is applied) it reads at least what rho makes of the last reading,*)
(* and `slack` is how much more it may be.                                   *)
(*                                                                           *)
(* README.md has the table of what each variable is in the implementation.   *)
EXTENDS Lease, LeaseData

VARIABLES tr,    \* which trace
          l,     \* its next step
          said,  \* per node, the term in which it said to have promoted, and not to have demoted; 0: none
          now,   \* true time
          read,  \* per node, its clock's last reading: [t, c]: true time, clock; t = Never: none since it started
          clock, \* per node, what its clock read at least when it was last looked at
          slack  \* per node, how much further the deadline may be than `left` says

\* TLC's greatest number
Never == 2147483647
Step == Traces[tr][l]
At   == Step.n
mine == <<now, read, clock, slack>>

(* ------------------------ the constants of Lease ------------------------- *)
TNil    == 0
TMaxLog == 1000000

TraceInit ==
    /\ term = 0 /\ commit = 0 /\ logs = [t \in 1..MaxTerm |-> <<>>]
    /\ heard = [n \in Node |-> 0] /\ leads = [n \in Node |-> FALSE] /\ primary = leads
    /\ applied = [n \in Node |-> 0] /\ lives = [n \in Node |-> 0]
    /\ left = [n \in Node |-> 0] /\ lag = [n \in Node |-> 0]
    /\ expiring = [n \in Node |-> FALSE] /\ decided = {}
    /\ ka = [k \in Ka |-> NoKa] /\ sure = 0 /\ belief = 0 /\ first = 0 /\ gone = FALSE
    /\ tr \in DOMAIN Traces /\ l = 1
    /\ said = [n \in Node |-> 0]
    /\ now = 0 /\ read = [n \in Node |-> [t |-> Never, c |-> 0]]
    /\ clock = [n \in Node |-> 0] /\ slack = [n \in Node |-> 0]

(* --------------------------------- time --------------------------------- *)
Is(a) == Step.a = a
InTerm == Step.t = heard[At]
\* by how much a clock may be wrong after d units, and two roundings
Off(d) == Up(d, D) + 2
\* what n's clock reads at least
Least(n) == LET d == Step.at - read[n].t
            IN IF read[n].t = Never THEN clock[n] ELSE Max2(clock[n], read[n].c + d - Off(d))
\* Time goes on to Step.at (for a client), or At looks at its clock besides: it reads Step.c, or
\* nobody says what.
Elapses ==
    LET d == Step.at - now
        c == IF Step.has THEN Step.c ELSE IF At = Nil THEN 0 ELSE Least(At)
        run == IF At = Nil THEN 0 ELSE Less(c, clock[At])
    IN /\ d >= 0
       /\ Step.has => /\ c >= clock[At]
                      /\ read[At].t # Never =>
                           LET dt == Step.at - read[At].t
                               dc == c - read[At].c
                           IN dc <= dt + Off(dt) /\ dc >= dt - Off(dt)
       \* the holder's clock is the slowest there may be
       /\ Elapse(d, [n \in Node |-> IF n = At THEN run ELSE 0], Less(d, Up(d, D)))
       /\ now' = Step.at
       /\ clock' = [n \in Node |-> IF n = At THEN c ELSE clock[n]]
       /\ read' = IF Step.has THEN [read EXCEPT ![At] = [t |-> Step.at, c |-> c]] ELSE read
       /\ UNCHANGED slack
\* the deadline is set: by a reading, or by what the clock reads at least
Exactly  == slack' = [slack EXCEPT ![At] = 0]
Vaguely  == LET d == IF read[At].t = Never THEN 0 ELSE now - read[At].t
            IN slack' = [slack EXCEPT ![At] = 2 * Off(d)]
Still    == UNCHANGED mine
Timeless == UNCHANGED <<now, read, clock>>
\* At's clock was read for this very step
JustRead == read[At].t = now /\ clock[At] = Step.c

(* --------------------------- one step, one action ------------------------ *)
\* units of a second
Second == 1000000
KeepAlive ==
    \/ /\ Is("SendKeepAlive")
       /\ SendKeepAlive(Step.ks) /\ Still
    \/ /\ Is("ReceiveKeepAlive") /\ InTerm /\ JustRead
       /\ ReceiveKeepAlive(At, Step.k, Step.x)
       \* the deadline that was set; of a lease that is not there, or is given up, nothing
       /\ IF lives[At] > 0 /\ ~expiring[At]
          THEN Step.until = Step.c + left'[At] /\ Exactly
          ELSE Step.until = 0 /\ UNCHANGED slack
       /\ Timeless
    \/ /\ Is("ConfirmRound") /\ InTerm
       /\ ConfirmRound(At, Step.k) /\ Still
    \/ /\ Is("AnswerKeepAlive") /\ InTerm
       /\ \E k \in Step.ks : IF Step.ttl = 0 THEN RefuseKeepAlive(At, k)
                             ELSE AnswerKeepAlive(At, k) /\ lives[At] = Step.ttl
       /\ Still
    \* how long it lives yet changes nothing; 0: there is none, else whole seconds, and one more
    \/ /\ Is("AnswerTimeToLive") /\ InTerm /\ JustRead
       /\ leads[At] /\ primary[At]
       /\ IF lives[At] = 0 THEN Step.ttl = 0
          ELSE IF expiring[At] THEN Step.ttl = 1
          ELSE /\ Step.ttl >= (left[At] \div Second) + 1
               /\ Step.ttl <= ((left[At] + slack[At]) \div Second) + 1
       /\ UNCHANGED vars /\ Still
Expiry ==
    \/ /\ Is("DecideExpiry") /\ InTerm /\ JustRead
       /\ DecideExpiry(At) /\ Still
    \/ /\ Is("AppendOwn") /\ InTerm /\ Step.p = Len(LogOf(At)) + 1
       /\ AppendRevoke(At) /\ logs'[heard[At]][Step.p].v = Step.v /\ Still
    \/ /\ Is("AppendGrant") /\ InTerm /\ Step.p = Len(LogOf(At)) + 1
       /\ AppendGrant(At, Step.v) /\ Still
    \* a client's has no stamp, and nobody hands one over
    \/ /\ Is("AppendRevoke") /\ InTerm /\ Step.p = Len(LogOf(At)) + 1 /\ Step.v = 0
       /\ AppendClients(At) /\ Still
Raft ==
    \* a leader that was deposed may learn late of what its successor has committed already
    \/ /\ Is("AdvanceCommit") /\ InTerm
       /\ IF Step.k > commit THEN Commit(At, Step.k) ELSE leads[At] /\ UNCHANGED vars
       /\ Still
    \/ /\ Is("Apply") /\ Step.p = applied[At] + 1
       /\ Apply(At)
       /\ LET e == log[Step.p]
          IN CASE e.k = "noop" -> Step.did = "nothing"
               [] e.k = "grant" -> Step.did = IF lives[At] = 0 THEN "granted" ELSE "refused"
               [] e.k = "revoke" -> Step.did = IF lives[At] > 0 /\ lives'[At] = 0 THEN "revoked" ELSE "refused"
       \* what is answered is what is in force
       /\ Step.did = "granted" => Step.ttl = lives'[At]
       /\ IF lives[At] = 0 /\ lives'[At] > 0 THEN Vaguely ELSE UNCHANGED slack
       /\ Timeless
    \/ /\ Is("BecomeLeader")
       /\ Elect(At, Step.t, Step.b, Step.k) /\ Still
    \/ /\ Is("UpdateTerm")
       /\ UpdateTerm(At, Step.t) /\ Still
    \/ /\ Is("StepDown") /\ InTerm /\ leads[At]
       /\ UpdateTerm(At, Step.t) /\ Still
    \/ /\ Is("Restart")
       /\ Restart(At, Step.t, Step.k)
       /\ read' = [read EXCEPT ![At] = [t |-> Never, c |-> 0]]
       /\ clock' = [clock EXCEPT ![At] = 0]
       /\ UNCHANGED <<now, slack>>
    \/ /\ Is("InstallSnapshot")
       /\ InstallSnapshot(At, Step.k) /\ Still
Leadership ==
    \/ /\ Is("PromoteLeases") /\ InTerm /\ JustRead
       /\ Promote(At) /\ Exactly /\ Timeless
    \* of what it ceased to be
    \/ /\ Is("DemoteLeases")
       /\ said[At] = Step.t /\ ~primary[At]
       /\ UNCHANGED vars /\ Still

\* A node says at once that it has promoted, and that it is demoted; a crash it does not say.
SaidFirst ==
    /\ "n" \in DOMAIN Step /\ At # Nil => \/ (said[At] # 0) = primary[At]
                                       \/ Is("DemoteLeases") \/ Is("Restart")
    /\ said' = IF Is("PromoteLeases") THEN [said EXCEPT ![At] = Step.t]
               ELSE IF Is("DemoteLeases") \/ Is("Restart") THEN [said EXCEPT ![At] = 0] ELSE said
\* what follows from the guards, if they are right
Promises == (AliveWhileSure /\ HolderIsRight)'

TraceNext ==
    /\ l <= Len(Traces[tr])
    /\ l' = l + 1 /\ tr' = tr
    /\ \/ Is("Elapse") /\ Elapses
       \/ KeepAlive \/ Expiry \/ Raft \/ Leadership
    /\ SaidFirst
    /\ Promises

\* tells how far it got
Progress == PrintT(<<"AT", tr, l>>)
=============================================================================
