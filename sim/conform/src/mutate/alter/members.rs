//! The fields of events of starts, of membership and of snapshots.

use curp::{ConfigCause, Event as NodeEvent, LogBase, Membership};

use super::{Alterations, FAR, Node, TERMS_FAR, set_index, term_of};

impl Alterations<'_, '_> {
    pub(super) fn restart(&mut self, event: &Node) {
        // Far beyond what any of its writes in flight could have left.
        self.with("Restart.term", event, |e| _ = term_of(e).map(|term| *term += TERMS_FAR));
        self.with("Restart.vote", event, |e| {
            if let NodeEvent::Restart { vote, .. } = e {
                *vote = Some(vote.map_or(1, |vote| vote + 1));
            }
        });
        self.with("Restart.commit", event, |e| {
            if let NodeEvent::Restart { commit, .. } = e {
                *commit += FAR;
            }
        });
        self.with("Restart.last_index", event, |e| {
            if let NodeEvent::Restart { last_index, .. } = e {
                *last_index += FAR;
            }
        });
        self.with("Restart.last_term", event, |e| {
            if let NodeEvent::Restart { last_term, .. } = e {
                *last_term += TERMS_FAR;
            }
        });
        let unknown = self.unknown_command();
        self.with("Restart.pool", event, |e| {
            if let NodeEvent::Restart { pool, .. } = e {
                pool.extend(unknown);
            }
        });
        self.with("Restart.base", event, |e| {
            if let NodeEvent::Restart { base, .. } = e {
                base.index += FAR;
            }
        });
        self.with("Restart.snapshot", event, |e| {
            if let NodeEvent::Restart { snapshot, .. } = e {
                *snapshot += FAR;
            }
        });
        self.with("Restart.membership", event, |e| {
            if let NodeEvent::Restart { membership, .. } = e {
                membership.version.index += 1;
            }
        });
    }

    pub(super) fn membership(&mut self, event: &Node) {
        let of_members = |e: &mut Node, change: &dyn Fn(&mut Membership)| {
            if let NodeEvent::UseConfig { membership, .. } = e {
                change(membership);
            }
        };
        match event {
            NodeEvent::UseConfig { .. } => {
                self.later_term("UseConfig.term", event);
                self.with("UseConfig.version", event, |e| of_members(e, &|m| m.version.index += 1));
                self.with("UseConfig.voters", event, |e| of_members(e, &|m| _ = m.voters.pop()));
                self.with("UseConfig.learners", event, |e| {
                    of_members(e, &|m| {
                        if m.learners.pop().is_none() {
                            m.learners.extend(m.voters.first());
                        }
                    });
                });
                self.with("UseConfig.cause", event, |e| {
                    if let NodeEvent::UseConfig { cause, .. } = e {
                        *cause = if *cause == ConfigCause::Installed { ConfigCause::Appended } else { ConfigCause::Installed };
                    }
                });
            }
            NodeEvent::TransferLeader { .. } => {
                self.later_term("TransferLeader.term", event);
                let own = self.node;
                self.with("TransferLeader.to", event, |e| {
                    if let (NodeEvent::TransferLeader { to, .. }, Some(own)) = (e, own) {
                        *to = own;
                    }
                });
            }
            _ => self.with("ShutDown.index", event, |e| set_index(e, |index| index + FAR)),
        }
    }

    pub(super) fn snapshot(&mut self, event: &Node) {
        match event {
            NodeEvent::TakeSnapshot { .. } => {
                self.later_term("TakeSnapshot.term", event);
                self.with("TakeSnapshot.index", event, |e| set_index(e, |index| index + 1));
            }
            NodeEvent::CompactLog { .. } => {
                let of_base = |e: &mut Node, change: &dyn Fn(&mut LogBase)| {
                    if let NodeEvent::CompactLog { base } = e {
                        change(base);
                    }
                };
                self.with("CompactLog.base: index", event, |e| of_base(e, &|base| base.index += FAR));
                self.with("CompactLog.base: term", event, |e| of_base(e, &|base| base.term += 1));
            }
            _ => {
                self.later_term("InstallSnapshot.term", event);
                self.with("InstallSnapshot.index", event, |e| set_index(e, |index| index + FAR));
                self.with("InstallSnapshot.last_term", event, |e| {
                    if let NodeEvent::InstallSnapshot { last_term, .. } = e {
                        *last_term += 1;
                    }
                });
                let own = self.node;
                self.with("InstallSnapshot.from", event, |e| {
                    if let (NodeEvent::InstallSnapshot { from, .. }, Some(own)) = (e, own) {
                        *from = own;
                    }
                });
            }
        }
    }
}
