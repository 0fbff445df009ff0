//! Probes: places of interest that a run may reach. Engines fire them by name; faults are anchored to them; scenarios require them.

/// Every probe with what it means, by name.
pub const PROBES: &[(&str, &str)] = &[
    ("append_rejected", "a follower rejected an AppendEntries because its log did not match"),
    ("campaign", "a node stood for election"),
    ("cluster_shut_down", "a node stopped because the cluster shuts down"),
    ("commit_advanced", "a leader's commit index rose"),
    ("config_appended", "a leader appended a configuration"),
    ("config_refused", "a leader refused to change the configuration"),
    ("config_undone", "a configuration was cut off a node's log before it was committed"),
    ("conflict_answered", "a leader answered a Propose with \"conflict\""),
    ("crash_with_write_in_flight", "a node crashed with a write in flight"),
    ("disk_lost_refused", "a node whose disk was lost refused to start"),
    ("duplicate_refused", "a command was proposed or applied a second time and did nothing"),
    ("entries_truncated", "a follower truncated entries of its log"),
    ("fast_path_opened", "a leader opened the fast path"),
    ("fast_round_completed", "a client had a super quorum for a command"),
    ("fast_then_synced", "a client had the synced result of a command after its fast one"),
    ("handover_sent", "a node handed a command that sat in its pool to the leader"),
    ("keep_alive_answered", "a leader answered a keep-alive"),
    ("keep_alive_received", "a leader received a keep-alive"),
    ("late_record", "a Record of an older term arrived"),
    ("leader_elected", "a node won an election"),
    ("leader_removed", "a leader was removed from the cluster"),
    ("leader_stepped_down", "a leader became a follower"),
    ("leader_transferred", "a voter that a leader had told to take over won the election"),
    ("learner_added", "a node has joined as a learner"),
    ("learner_promoted", "a learner has become a voter"),
    ("lease_expired", "a leader decided that a lease has expired"),
    ("leases_demoted", "a node that led says nothing of leases any more"),
    ("leases_promoted", "a new leader gave every lease its full time"),
    ("log_compacted", "a node dropped a prefix of its log that a snapshot covers"),
    ("member_removed", "a member has been removed"),
    ("message_held_by_write", "a message waited for a write in flight"),
    ("out_of_order_execution", "a command finished executing before one that stands earlier in the log"),
    ("over_grpc", "a run of the madsim engine went over gRPC instead of the world's network"),
    ("pool_recovered_at_restart", "a node found commands in its durable spec pool at start"),
    ("read_retried", "a client had to ask again for a read"),
    ("read_served_follower", "a follower served a read"),
    ("read_served_leader", "a leader served a read"),
    ("read_served_learner", "a learner served a read"),
    ("record_refused", "a voter refused a Record"),
    ("recovering_pools", "a new leader recovered at least one command from spec pools"),
    ("retry_sent", "a client sent a command again"),
    ("session_begun", "a session began"),
    ("snapshot_installed", "a node installed a snapshot from its leader"),
    ("snapshot_piece_repeated", "a leader sent a piece of a snapshot again"),
    ("snapshot_saved", "a node's snapshot file, of its own or from its leader, is durable"),
    ("snapshot_taken", "a node took a snapshot of its state, and its file is being written"),
    ("started_from_snapshot", "a node started from a snapshot"),
    ("started_from_store", "a node found a state later than its snapshot in its state machine's store, and started from there"),
    ("state_saved", "a node's state, up to the applied index, is in its state machine's store"),
    ("synced_completed", "a client had the synced result of a command"),
    ("time_to_live_answered", "a leader told how long a lease has still to live"),
    ("torn_tail_cut", "a node cut a torn tail off its log at start"),
    ("transfer_begun", "a leader told another voter to take over"),
    ("transfer_failed", "an operator was told that leadership did not move"),
    ("unknown_outcome", "a client gave up, or died, with an operation pending"),
    ("vote_granted", "a node granted its vote to another"),
];

/// Whether there is a probe of this name.
pub fn is_probe(name: &str) -> bool {
    PROBES.binary_search_by(|(n, _)| (*n).cmp(name)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_sorted_and_found() {
        assert!(PROBES.windows(2).all(|w| w[0].0 < w[1].0));
        assert!(PROBES.iter().all(|(name, _)| is_probe(name)) && !is_probe("fast_round"));
    }
}
