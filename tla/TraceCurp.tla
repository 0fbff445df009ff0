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
          l,    \* its next step
          said  \* per node, the version of the configuration that it last said to be in force

Step == Traces[tr][l]
Last == Traces[tr][l - 1]
At   == Step.n

(* ------------------------- the constants of Curp ------------------------- *)
TCmd          == DOMAIN TCmds
TRead         == DOMAIN TReads
TClientOf     == [c \in TCmd |-> TCmds[c].cl]
TSeqNo        == [c \in TCmd |-> TCmds[c].seq]
TOpOf         == [c \in TCmd |-> c]
\* footprints are sets of numbers of key intervals and of leases; all: what it touches depends
\* on the state
TConflict(c, d) == \/ TCmds[c].all \/ TCmds[d].all
                   \/ TCmds[c].wr \cap TCmds[d].wr # {}
                   \/ TCmds[c].wr \cap TCmds[d].rd # {}
                   \/ TCmds[c].rd \cap TCmds[d].wr # {}
TSees(r, c)     == TReads[r].all \/ TCmds[c].all \/ TReads[r].keys \cap TCmds[c].wr # {}
TSlow           == {c \in TCmd : TCmds[c].all}
TNil            == 0
TOwn            == Len(TCmds) + 1
TMaxOwn         == 1000000
TMaxCrash       == 1000000
TMaxConfig      == 1000000

TraceInit ==
    /\ InitAs("D") /\ InitAsync          \* every node is down until it starts
    /\ tr \in DOMAIN Traces /\ l = 1
    /\ said = [n \in Node |-> Initial.ver]

(* --------------------------- one step, one action ------------------------ *)
Is(a) == Step.a = a
\* the term that was logged is the node's
InTerm == Step.t = term[At]
LastIs(i) == Len(log[At]) + 1 = i
\* n stopped by itself, and has not started since
Stopped(n) == LET K == {k \in 1..(l - 1) : Traces[tr][k].a \in {"Restart", "Crash", "ShutDown"} /\ Traces[tr][k].n = n}
              IN K # {} /\ Traces[tr][Max(K)].a = "ShutDown"

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
    \/ Is("AppendOwn") /\ InTerm /\ LastIs(Step.idx) /\ AsyncAppendOwn(At)
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
                 [] e.k = "config" -> Step.out = "configured"
                 [] e.k = "shut"  -> Step.out = "shutdown"
                 [] e.k = "own"   -> Step.out = "done" /\ Step.c = 0
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
              /\ {b.n : b \in B} \cup ({At} \cap cfg[At].voters) = Step.q
              /\ LET s == [i \in 1..(Len(Step.es) - 1) |-> Step.es[i + 1].v]
                 IN AsyncBecomeLeader(At, B, s)
         /\ SubSeq(log'[At], Len(log[At]) + 1, Len(log'[At])) = Step.es
    \/ Is("StepDown") /\ InTerm /\ StepDown(At)
Disks ==
    \* of a node that has stopped by itself nothing is left to crash
    \/ Is("Crash") /\ (Crash(At) \/ (Stopped(At) /\ UNCHANGED <<vars, async>>))
    \* of a node that has not begun nothing is there to crash
    \/ Is("FailStart") /\ role[At] = "D" /\ UNCHANGED <<vars, async>>
    \/ Is("Restart") /\ \E j \in 0..Len(pend[At]) : Restart(At, j, Step.snap, Step.base, Step.st)
         /\ Step.t = term'[At] /\ Step.v = vote'[At] /\ Step.com = commit'[At]
         /\ Step.last = Len(log'[At]) /\ Step.lt = LastT(log'[At]) /\ Step.pool = pool'[At]
         /\ cfg'[At] = [ver |-> Step.ver, voters |-> Step.vs, learners |-> Step.ls]
    \* unseen: records before a checkpoint were not durable before it, which says at once what they came to; how many, its bytes do not tell
    \/ Is("Persist")
         /\ \E k \in Step.k..(IF Step.unseen THEN Len(pend[At]) ELSE Step.k) :
               \/ Persist(At, k)
               \/ k = 0 /\ Step.unseen /\ UNCHANGED <<vars, async>>
         /\ LET d == disk'[At]
            IN /\ d.t = Step.t /\ d.v = Step.v /\ d.c = Step.com /\ d.pool = Step.pool
               /\ d.s = Step.snap
               /\ IF Step.cut
                  \* a snapshot took the place of the log: what it covers is not on the disk
                  THEN LET b == Len(d.log) - Len(Step.es)
                       IN b = Step.snap /\ LastT(Prefix(d.log, b)) = Step.st /\ SubSeq(d.log, b + 1, Len(d.log)) = Step.es
                  ELSE /\ Step.kept <= Len(disk[At].log)
                       /\ d.log = Prefix(disk[At].log, Step.kept) \o Step.es
    \/ Is("LoseDisk") /\ LoseDisk(At)
Snapshots_ ==
    \/ Is("TakeSnapshot") /\ TakeSnapshot(At) /\ Step.idx = applied[At] /\ Step.st = log[At][Step.idx].t
    \/ Is("SaveState") /\ SaveState(At, Step.idx)
    \/ Is("SaveSnapshot") /\ SaveSnapshot(At, Step.idx) /\ Step.st = disk[At].log[Step.idx].t
    \/ Is("CompactLog") /\ CompactLog(At, Step.idx) /\ Step.st = log[At][Step.idx].t
    \/ Is("InstallSnapshot") /\ InTerm /\ Step.t \in 1..MaxTerm /\ sent[Step.t].n = Step.l
         /\ AsyncInstallSnapshot(At, Step.t, Step.idx)
         /\ Step.st = log'[At][Step.idx].t
Members ==
    \/ Is("AppendConfig") /\ InTerm /\ LastIs(Step.idx) /\ AsyncAppendConfig(At, Step.vs, Step.ls)
         /\ cfg'[At].ver = Step.ver
    \* the configuration is another one than that it said last; why: by the step before this one
    \/ Is("UseConfig") /\ InTerm /\ cfg[At].ver # said[At]
         /\ cfg[At] = [ver |-> Step.ver, voters |-> Step.vs, learners |-> Step.ls]
         /\ (Step.why = "installed") = (Last.a = "InstallSnapshot")
         /\ (Step.why = "undone" => cfg[At].ver[2] < said[At][2])
         /\ UNCHANGED <<vars, async>>
    \/ Is("TransferLeader") /\ InTerm /\ TransferLeader(At, Step.to)
    \/ Is("AppendShutdown") /\ InTerm /\ LastIs(Step.idx) /\ AppendShutdown(At)
    \/ Is("ShutDown") /\ ShutDown(At, Step.idx)
SessionsReads ==
    \/ Is("SessionBegin") /\ InTerm /\ LastIs(Step.idx) /\ AsyncSessionBegin(At, Step.idx)
    \/ Is("SessionEnd") /\ InTerm /\ LastIs(Step.idx) /\ AsyncSessionEnd(At, Step.cl)
    \/ Is("ReadRequest") /\ InTerm /\ AsyncReadRequest(At, Step.r) /\ reads'[Step.r].idx = Step.idx
    \/ Is("ReadIndex") /\ InTerm /\ AsyncReadIndex(At, Step.r, Step.q)
    \/ Is("ServeRead") /\ Step.app = applied[At]
         \* whichever request was answered with this index: it makes no difference
         /\ LET R == {r \in Step.rs : reads[r].idx = Step.idx /\ reads[r].st \in {"index", "served"}}
            IN R # {} /\ AsyncServeRead(At, Max(R))

\* A node says of another configuration directly after the event (which may be several steps) that
\* brings it into force.
SaidFirst ==
    /\ LET same == l > 1 /\ Last.i = Step.i
       IN "n" \in DOMAIN Step => cfg[At].ver = said[At] \/ Is("UseConfig") \/ same
    /\ said' = IF Is("UseConfig") \/ Is("Restart") THEN [said EXCEPT ![At] = Step.ver] ELSE said

TraceNext ==
    /\ l <= Len(Traces[tr])
    /\ l' = l + 1 /\ tr' = tr
    /\ Client_ \/ Rounds \/ Replication \/ Elections \/ Disks \/ Snapshots_ \/ Members \/ SessionsReads
    /\ SaidFirst

\* tells how far it got
Progress == PrintT(<<"AT", tr, l>>)
=============================================================================
