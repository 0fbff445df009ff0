----------------------------- MODULE TraceCurp ------------------------------
(* Holds traces against CurpAsync.tla.  Each step of a trace must be the     *)
(* action that it names, with the values that were logged; nothing else may  *)
(* happen in between.  `cargo sim conform --tlc` generates TraceData (the    *)
(* traces, and tables of the commands and reads that occur in them), runs    *)
(* TLC, and reads how far each trace got: a trace is accepted when all of    *)
(* its steps are taken.                                                      *)
(*                                                                           *)
(* README.md has the table of what each variable is in the implementation.   *)
EXTENDS CurpAsync, TraceData, TLC

VARIABLES tr,   \* which trace
          l     \* its next step

Step == Traces[tr][l]
At   == Step.n

(* ------------------------- the constants of Curp ------------------------- *)
TCmd          == DOMAIN TCmds
TRead         == DOMAIN TReads
TClientOf     == [c \in TCmd |-> TCmds[c].cl]
TSeqNo        == [c \in TCmd |-> TCmds[c].seq]
TOpOf         == [c \in TCmd |-> c]
\* footprints are sets of numbers of key intervals
TConflict(c, d) == \/ TCmds[c].wr \cap TCmds[d].wr # {}
                   \/ TCmds[c].wr \cap TCmds[d].rd # {}
                   \/ TCmds[c].rd \cap TCmds[d].wr # {}
TSees(r, c)     == TReads[r].keys \cap TCmds[c].wr # {}
TNil            == 0
TMaxCrash       == 1000000
TMaxConfig      == 0

TraceInit ==
    /\ InitAs("D") /\ InitAsync          \* every node is down until it starts
    /\ tr \in DOMAIN Traces /\ l = 1

(* --------------------------- one step, one action ------------------------ *)
Is(a) == Step.a = a
\* the term that was logged is the node's
InTerm == Step.t = term[At]
LastIs(i) == Len(log[At]) + 1 = i

Client_ ==
    \/ Is("Propose") /\ AsyncPropose(Step.c) /\ fi'[Step.c] = Step.fi
    \/ Is("FastComplete") /\ \E e \in er : /\ e.c = Step.c /\ e.t = Step.t /\ e.ver = Step.ver
                                           /\ AsyncFastComplete(Step.c, e, Step.q)
    \/ Is("SyncedComplete") /\ AsyncSyncedComplete(Step.c)
Rounds ==
    \/ Is("LeaderPropose") /\ InTerm /\ LastIs(Step.idx) /\ fi[Step.c] = Step.fi
         /\ AsyncLeaderPropose(At, Step.c, Step.fast)
    \/ Is("Execute") /\ InTerm /\ Execute(At, Step.c)
         /\ \E i \in {Step.idx} \cap (1..Len(log[At])) : IsCmd(log[At], i) /\ log[At][i].v = Step.c
    \/ Is("WitnessRecord") /\ InTerm /\ fi[Step.c] = Step.fi
         /\ Step.new = (Step.c \notin pool[At])
         /\ AsyncWitnessRecord(At, Step.c, Step.asked, Step.ver)
    \/ Is("PoolDrop") /\ AsyncPoolDrop(At, Step.c)
Replication ==
    \/ Is("AcceptEntries") /\ InTerm
         /\ Step.t \in 1..MaxTerm /\ sent[Step.t].n = Step.l
         /\ Step.cut = (Step.idx <= Len(log[At]))
         /\ AsyncAcceptEntries(At, Step.idx) /\ log'[At][Step.idx] = Step.e
    \/ Is("Matched") /\ InTerm /\ Matched(At, Step.m, Step.k)
    \/ Is("AdvanceCommit") /\ InTerm /\ AsyncAdvanceCommit(At, Step.k)
    \/ Is("FollowCommit") /\ InTerm /\ FollowCommit(At, Step.k)
    \/ Is("Apply") /\ Step.idx = applied[At] + 1 /\ Apply(At)
         /\ LET i == Step.idx
                e == log[At][i]
                s == Prefix(log[At], i - 1)
            IN CASE e.k = "noop"  -> Step.out = "nothing"
                 [] e.k = "begin" -> Step.out = "begun"
                 [] e.k = "end"   -> Step.out = "ended"
                 [] e.k = "cmd"   -> /\ Step.c = e.v
                                     /\ Step.out = IF EffAt(log[At], i) THEN "done"
                                          ELSE IF /\ Live(s, ClientOf[e.v])
                                                  /\ SeqNo[e.v] >= FirstInc(s, ClientOf[e.v])
                                               THEN "dup" ELSE "refused"
    \/ Is("OpenFastPath") /\ InTerm /\ OpenFastPath(At)
Elections ==
    \/ Is("UpdateTerm") /\ AsyncUpdateTerm(At, Step.t)
    \/ Is("Campaign") /\ Step.t = term[At] + 1 /\ Campaign(At)
    \/ Is("GrantVote") /\ InTerm /\ Step.pool = pool[At] /\ GrantVote(At, Step.to)
    \/ Is("RepeatVote") /\ InTerm /\ Step.pool = pool[At] /\ RepeatVote(At, Step.to)
    \/ Is("BecomeLeader") /\ InTerm
         /\ \E B \in SUBSET {b \in cast : b.to = At /\ b.t = Step.t /\ b.n \in Step.q} :
              /\ {b.n : b \in B} \cup {At} = Step.q
              /\ LET s == [i \in 1..(Len(Step.es) - 1) |-> Step.es[i + 1].v]
                 IN AsyncBecomeLeader(At, B, s)
         /\ SubSeq(log'[At], Len(log[At]) + 1, Len(log'[At])) = Step.es
    \/ Is("StepDown") /\ InTerm /\ StepDown(At)
Disks ==
    \/ Is("Crash") /\ Crash(At)
    \/ Is("Restart") /\ \E j \in 0..Len(pend[At]) : Restart(At, j)
         /\ Step.t = term'[At] /\ Step.v = vote'[At] /\ Step.com = commit'[At]
         /\ Step.last = Len(log'[At]) /\ Step.lt = LastT(log'[At]) /\ Step.pool = pool'[At]
    \/ Is("Persist") /\ Step.k \in 1..Len(pend[At])
         /\ Persist(At, Step.k)
         /\ LET d == disk'[At]
            IN /\ d.t = Step.t /\ d.v = Step.v /\ d.c = Step.com /\ d.pool = Step.pool
               /\ Step.kept <= Len(disk[At].log)
               /\ d.log = Prefix(disk[At].log, Step.kept) \o Step.es
SessionsReads ==
    \/ Is("SessionBegin") /\ InTerm /\ LastIs(Step.idx) /\ AsyncSessionBegin(At, Step.idx)
    \/ Is("SessionEnd") /\ InTerm /\ LastIs(Step.idx) /\ AsyncSessionEnd(At, Step.cl)
    \/ Is("ReadRequest") /\ InTerm /\ AsyncReadRequest(At, Step.r) /\ reads'[Step.r].idx = Step.idx
    \/ Is("ReadIndex") /\ InTerm /\ AsyncReadIndex(At, Step.r, Step.q)
    \/ Is("ServeRead") /\ Step.app = applied[At]
         \* whichever request was answered with this index: it makes no difference
         /\ LET R == {r \in Step.rs : reads[r].idx = Step.idx /\ reads[r].st \in {"index", "served"}}
            IN R # {} /\ AsyncServeRead(At, Max(R))

TraceNext ==
    /\ l <= Len(Traces[tr])
    /\ l' = l + 1 /\ tr' = tr
    /\ Client_ \/ Rounds \/ Replication \/ Elections \/ Disks \/ SessionsReads

\* tells how far it got
Progress == PrintT(<<"AT", tr, l>>)
=============================================================================
