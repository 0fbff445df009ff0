------------------------------ MODULE MCSeeds -------------------------------
(* Seeded states of five nodes for the holes that breadth-first search does   *)
(* not reach from an early state.  Each is reachable with all rules on, and   *)
(* the random walks with all rules on from them find nothing.               *)
EXTENDS MCCurp
CONSTANTS n1, n2, n3, n4, n5

Noop(t)   == Entry(t, "noop", Nil)
Config(t, V) == [Entry(t, "config", Nil) EXCEPT !.cfg = V]
Put(t, c) == Entry(t, "cmd", c)
By(a, b, c, d, e) == [n \in Node |-> CASE n = n1 -> a [] n = n2 -> b [] n = n3 -> c
                                       [] n = n4 -> d [] n = n5 -> e]
N1(x) == [m \in Node |-> IF m = n1 THEN x ELSE NoMatch]
N3(x) == [m \in Node |-> IF m = n3 THEN x ELSE NoMatch]

\* InitGrow: voters n1..n4, n1 leads term 1 and has appended n5 as a voter; only n5 has that entry.
InitGrow ==
    LET a == <<Noop(1)>>  b == <<Noop(1), Config(1, Node)>>
    IN /\ Asked({})
       /\ NodesAt(All(1), By("L", "F", "F", "F", "F"), By(b, a, a, a, b), All(1), All({}),
                  N1(By(0, 1, 1, 1, 2)), All(0))

\* InitShrink: voters n1..n4, n1 led term 1 and appended the removal of n4, which nobody else has;
\* n3 leads term 2 with the fast path open; n5 has caught up as a learner.
InitShrink ==
    LET a == <<Noop(1), Noop(2)>>  b == <<Noop(1), Config(1, {n1, n2, n3})>>
    IN /\ Asked({})
       /\ NodesAt(All(2), By("F", "F", "L", "F", "F"), By(b, a, a, a, a), By(1, 2, 2, 2, 2), All({}),
                  N3(By(0, 2, 0, 2, 2)), All(0))

\* InitLate: five voters; n1, leading term 1, has c1 and c2 acknowledged by n2 only; n3 leads term 2.
InitLate ==
    LET a == <<Noop(1)>>  b == <<Noop(1), Put(1, c1), Put(1, c2)>>  c == <<Noop(1), Noop(2)>>
    IN /\ Asked({c1, c2})
       /\ NodesAt(By(1, 1, 2, 2, 2), By("L", "F", "L", "F", "F"), By(b, b, c, a, a), All(1), All({}),
                  By(By(0, 3, 1, 1, 1), NoMatch, NoMatch, NoMatch, NoMatch), By(0, 0, 2, 0, 0))

\* InitAcked: five voters; n1 leads term 1, n2 acknowledged c1 and c2, n3 only c1, which n1 committed.
InitAcked ==
    LET a == <<Noop(1)>>  b == <<Noop(1), Put(1, c1), Put(1, c2)>>
    IN /\ Asked({c1, c2})
       /\ NodesAt(All(1), By("L", "F", "F", "F", "F"), By(b, b, Prefix(b, 2), a, a), By(2, 1, 1, 1, 1), All({}),
                  N1(By(0, 3, 2, 1, 1)), All(0))

\* InitFive: n1 leads term 1, the fast path is open, c1 and c2 have been sent to all.
InitFive == Asked({c1, c2}) /\ Lead(n1, All(<<Noop(1)>>), All({}))
\* a bound on the search for a counterexample: nothing is recorded or executed
Unasked == acks = {} /\ er = {}
Voters14 == {n1, n2, n3, n4}
Followers == Permutations({n2, n3, n4, n5})
=============================================================================
