------------------------------ MODULE MCAsync -------------------------------
(* Models of CurpAsync.tla.  They start where those of Curp.tla do, with all  *)
(* that is in memory durable.                                                *)
EXTENDS CurpAsync, MCCurp

AsyncInit  == Init /\ InitAsync
AsyncLed   == InitLed /\ InitAsync
AsyncAsked == InitAsked /\ InitAsync
AsyncFast  == InitFast /\ InitAsync
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
=============================================================================
