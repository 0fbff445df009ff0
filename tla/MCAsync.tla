------------------------------ MODULE MCAsync -------------------------------
(* Models of CurpAsync.tla.  They start where those of Curp.tla do, with all  *)
(* that is in memory durable.                                                *)
EXTENDS CurpAsync, MCCurp

AsyncInit  == Init /\ InitAsync
AsyncLed   == InitLed /\ InitAsync
AsyncAsked == InitAsked /\ InitAsync
AsyncFast  == InitFast /\ InitAsync
\* AsyncBehind: the leader committed c1, which a second voter has and the third has not; c2, which commutes
\* with it, was done by a fast round alone, and is in every pool and in the leader's log.
AsyncBehind ==
    /\ \E l, m \in Voters0 :
         LET b == Append(Opened, Entry(1, "cmd", c1))
             k == Len(b)
         IN /\ l # m
            /\ NodesAt(All(1), [n \in Node |-> IF n = l THEN "L" ELSE "F"],
                       [n \in Node |-> IF n = l THEN Append(b, Entry(1, "cmd", c2)) ELSE IF n = m THEN b ELSE Opened],
                       [n \in Node |-> IF n = l THEN k ELSE Len(Opened)], [n \in Node |-> {c2}],
                       [n \in Node |-> IF n = l THEN [x \in Node |-> IF x = m THEN k ELSE 0] ELSE NoMatch], All(0))
    /\ prop = {c1, c2} /\ pre = [c \in Cmd |-> {}] /\ fi = [c \in Cmd |-> 0]
    /\ er = {} /\ acks = {} /\ reads = Idle
    /\ done = [c \in Cmd |-> IF c = c2 THEN [how |-> "fast", t |-> 1, res |-> Nil] ELSE Undone]
    /\ InitAsync
\* AsyncAcked: the leader has c1 and c2 in its log, which a second voter acknowledged; nothing of it is committed.
AsyncAcked ==
    /\ \E l, m \in Voters0 :
         LET b == Opened \o <<Entry(1, "cmd", c1), Entry(1, "cmd", c2)>>
         IN /\ l # m
            /\ NodesAt(All(1), [n \in Node |-> IF n = l THEN "L" ELSE "F"],
                       [n \in Node |-> IF n \in {l, m} THEN b ELSE Opened], All(Len(Opened)), All({}),
                       [n \in Node |-> IF n = l THEN [x \in Node |-> IF x = m THEN Len(b) ELSE 0] ELSE NoMatch], All(0))
    /\ Asked({c1, c2}) /\ InitAsync
\* bounds on a search: so many records under way in all, so many votes and messages
Busy(k)    == LET RECURSIVE Sum(_)
                  Sum(S) == IF S = {} THEN 0
                            ELSE LET n == CHOOSE n \in S : TRUE IN Len(pend[n]) + Sum(S \ {n})
              IN Sum(Node) <= k
Busy1      == Busy(1)
Busy2      == Busy(2)

(* ------------- reachability: each of these TLC must violate ------------- *)
\* an append is accepted although its leader leads no more
NeverLate      == [][\A n \in Node : ~(log'[n] # log[n] /\ role[n] = "F" /\ role'[n] = "F" /\ term[n] > 0
                       /\ sent[term[n]].n # Nil /\ term[sent[term[n]].n] > term[n])]_<<vars, async>>
\* an answer counts that was given in a term its sender has left
NeverLateAnswer == [][\A l, m \in Node : ~(match'[l][m] > match[l][m] /\ term[m] > term[l])]_<<vars, async>>
\* a crash takes an ER that waits for the disk
NeverUnsaid    == [][~(er' # er /\ er' \subseteq er /\ crashes' > crashes)]_<<vars, async>>
\* a restart finds a record that is not durable
NeverCached    == [][\A n \in Node : ~(role[n] = "D" /\ role'[n] = "F" /\ pend'[n] # <<>>)]_<<vars, async>>
\* a leader applies again what it had applied before it crashed
NeverAgain     == \A l \in Leaders : ~(crashes > 0 /\ applied[l] > 1)
\* a snapshot takes the place of a log, and a restart begins from one
NeverCut       == [][~ \E n \in Node : Up(n) /\ files'[n].base > files[n].base]_<<vars, async>>
NeverFromSnapshot == [][~ \E n \in Node : role[n] = "D" /\ role'[n] = "F" /\ applied'[n] > 0]_<<vars, async>>
\* a restart finds in a store what no record found on the disk says to be committed
NeverFromStore == [][~ \E n \in Node : role[n] = "D" /\ role'[n] = "F" /\ pend'[n] = <<>> /\ commit'[n] > disk[n].c]_<<vars, async>>
\* a learner is made a voter, and that is applied; a leader that is no voter any more still leads
NeverPromoted  == \A n \in Node : ~ (applied[n] > 2 /\ CfgOf(Applied(n)).voters \ Voters0 # {})
NeverOutside   == \A n \in Leaders : n \in cfg[n].voters
=============================================================================
