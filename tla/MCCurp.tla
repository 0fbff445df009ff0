------------------------------- MODULE MCCurp -------------------------------
(* What the models of Curp.tla share: values for its constants, states to     *)
(* start from, and the negated reachability checks.  No rule lives here.      *)
EXTENDS Curp, TLC
CONSTANTS c1, c2,                          \* the commands by name; c2 = Nil where there is one
          KeyOf, ReadKey                   \* what a command changes, what a read asks for
SameKey(c, d)  == KeyOf[c] = KeyOf[d]
ReadsKey(r, c) == KeyOf[c] = ReadKey[r]

OneKey    == [c \in Cmd |-> 1]             \* all commands conflict
OwnKey    == [c \in Cmd |-> c]             \* all commands commute
ReadsOne  == [r \in Read |-> 1]
OwnOp     == [c \in Cmd |-> c]
SameOp    == [c \in Cmd |-> 1]             \* every command is a retry of one operation
OneClient == [c \in Cmd |-> CHOOSE cl \in Client : TRUE]
Seq12     == [c \in Cmd |-> IF c = c1 THEN 1 ELSE 2]

Nodes     == Permutations(Node)
NodesCmds == Permutations(Node) \cup Permutations(Cmd)

(* --------------------------- states to start from ----------------------- *)
\* every node at term tm[n] with role rl[n], log lg[n], commit and applied co[n], pool pl[n]
NodesAt(tm, rl, lg, co, pl, mt, ba) ==
    /\ term = tm /\ role = rl /\ log = lg /\ commit = co /\ applied = co /\ pool = pl
    /\ match = mt /\ barrier = ba
    /\ cfg = [n \in Node |-> CfgOf(lg[n])]
    /\ vote = [n \in Node |-> Nil] /\ votes = [n \in Node |-> {}] /\ crashes = 0
Idle == [r \in Read |-> [st |-> "idle", n |-> Nil, t |-> 0, idx |-> 0,
                         acks |-> {}, pre |-> {}, saw |-> {}]]
Undone == [how |-> "no", t |-> 0, res |-> Nil]
\* commands P sent to all, nothing answered
Asked(P) ==
    /\ prop = P /\ pre = [c \in Cmd |-> {}] /\ fi = [c \in Cmd |-> IF Sessions /\ c \in P THEN 1 ELSE 0]
    /\ er = {} /\ acks = {} /\ done = [c \in Cmd |-> Undone] /\ reads = Idle
All(x) == [n \in Node |-> x]

\* InitLed: a leader of term 1, its no-op (and every session's begin) applied everywhere,
\* the fast path open.
RECURSIVE Begins(_)
Begins(S) == IF S = {} THEN <<>>
             ELSE LET x == CHOOSE x \in S : TRUE IN <<Entry(1, "begin", x)>> \o Begins(S \ {x})
Opened == <<Entry(1, "noop", Nil)>> \o (IF Sessions THEN Begins(Client) ELSE <<>>)
Lead(l, lg, pl) ==
    NodesAt(All(1), [n \in Node |-> IF n = l THEN "L" ELSE "F"], lg, All(Len(Opened)), pl,
            [n \in Node |-> IF n = l THEN [m \in Node |-> IF m = l THEN 0 ELSE Len(Opened)]
                            ELSE NoMatch], All(0))
InitLed   == Asked({}) /\ \E l \in Voters0 : Lead(l, All(Opened), All({}))
\* InitAsked: the same, and every command has been sent to all.
InitAsked == Asked(Cmd) /\ \E l \in Voters0 : Lead(l, All(Opened), All({}))
\* InitFast: c1 has completed by a fast round alone, it is in every voter's pool and in the
\* leader's log only.
InitFast ==
    /\ \E l \in Voters0 :
         Lead(l, [All(Opened) EXCEPT ![l] =
                    Append(Opened, [Entry(1, "cmd", c1) EXCEPT !.fi = IF Sessions THEN 1 ELSE 0])],
              [n \in Node |-> IF n \in Voters0 THEN {c1} ELSE {}])
    /\ prop = {c1} /\ pre = [c \in Cmd |-> {}]
    /\ fi = [c \in Cmd |-> IF Sessions /\ c = c1 THEN 1 ELSE 0]
    /\ er = {} /\ acks = {} /\ reads = Idle
    /\ done = [c \in Cmd |-> IF c = c1 THEN [how |-> "fast", t |-> 1, res |-> Nil] ELSE Undone]

(* ------------- reachability: each of these TLC must violate ------------- *)
NeverFast      == \A c \in Cmd : done[c].how # "fast"
\* a command completed by a fast round alone is in the log of a later leader
NeverRecovered == \A l \in Leaders : \A i \in 1..Len(log[l]) : ~
                    (/\ IsCmd(log[l], i) /\ done[log[l][i].v].how = "fast"
                     /\ done[log[l][i].v].t < log[l][i].t)
NeverServed    == \A r \in Read : reads[r].st # "served"
NeverSawFast   == \A r \in Read : ~ \E c \in reads[r].saw : done[c].how = "fast"
NeverEnded     == \A n \in Node, cl \in Client : ~Ended(Applied(n), cl)
NeverFirstInc  == \A n \in Node, cl \in Client : FirstInc(Applied(n), cl) < 2
\* a command observes a leader's own, and is completed
NeverOwn       == \A c \in Cmd : done[c].res # Own
NeverChanged   == \A n \in Node : \A i \in 1..commit[n] : log[n][i].k # "config"
\* a fast command is done in a changed configuration
NeverFastInNew == ~ \E e \in er : e.ver # <<0, 0>>
NeverInstalled == [][\A n, l \in Node : ~InstallSnapshot(n, l)]_vars
\* a follower gives up a command of its log for a later leader's no-op
NeverTruncated == [][\A n \in Node : ~(role'[n] = "F" /\ Cmds(log[n]) \ Cmds(log'[n]) # {})]_vars
=============================================================================
