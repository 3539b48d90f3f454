// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Services that are wrong on purpose: each breaks one promise of the interface, and some test of the
//! suite has to say so.
//!
//! A fault is a piece of the service's or the engine's source and what takes its place. All of them
//! go into one copy of the sources, each behind a question to the environment, so that one build is
//! every wrong service, and the real one has none of it.

/// What is wrong, where, and who should notice.
pub struct Fault {
    /// What the service is asked for it by: `BUFFERSYNC_FAULT`.
    pub name: &'static str,
    /// Below `service/`.
    pub file: &'static str,
    /// What the file has once.
    pub from: &'static str,
    /// What takes its place. `FAULT` is whether this fault is asked for.
    pub to: &'static str,
    /// Tests of the suite that should fail.
    pub noticed_by: &'static [&'static str],
}

const fn fault(
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    noticed_by: &'static [&'static str],
) -> Fault {
    Fault { name, file, from, to, noticed_by }
}

#[rustfmt::skip]
pub const FAULTS: &[Fault] = &[
    // Order.
    fault("no_wound", "engine/src/engine.rs",
        "self.wound_younger(at, fx);",
        "if !FAULT { self.wound_younger(at, fx); }",
        &["growth::a_growing_group_is_wounded_by_an_older_one_and_keeps_what_it_holds"]),
    fault("no_deadlock_error", "engine/src/engine.rs",
        "self.refuse_deadlock(at)?;",
        "if !FAULT { self.refuse_deadlock(at)?; }",
        &["growth::growth_that_could_deadlock_is_refused_and_the_retry_keeps_its_age"]),
    fault("fifo_instead_of_tickets", "engine/src/acquire.rs",
        "Some((ticket, until)) if now < until => ticket,",
        "Some((ticket, until)) if now < until && !FAULT => ticket,",
        &["growth::a_lock_that_is_cancelled_leaves_its_ticket"]),
    fault("tickets_are_kept_for_ever", "engine/src/release.rs",
        "let until = now.after(self.limits.max_hold);",
        "let until = now.after(if FAULT { std::time::Duration::from_secs(3600) } else { self.limits.max_hold });",
        &["growth::a_ticket_is_kept_as_long_as_the_longest_grant_and_no_longer"]),
    fault("readers_overtake_a_waiting_writer", "engine/src/acquire.rs",
        "(slot.queue.is_empty() || !slot.queue.bars(ticket, exclusive))",
        "(slot.queue.is_empty() || !slot.queue.bars(ticket, exclusive) || FAULT)",
        &["locking::a_reader_does_not_overtake_a_waiting_writer"]),
    // Exclusion.
    fault("writers_share", "engine/src/holders.rs",
        "self.exclusive.is_none() && (!exclusive || self.shared.len() == usize::from(upgrade))",
        "FAULT || self.exclusive.is_none() && (!exclusive || self.shared.len() == usize::from(upgrade))",
        &["locking::writers_exclude_everybody_and_readers_share"]),
    fault("readers_are_exclusive", "engine/src/types.rs",
        "matches!(self, Self::Write | Self::DmaWrite)",
        "FAULT || matches!(self, Self::Write | Self::DmaWrite)",
        &["locking::writers_exclude_everybody_and_readers_share"]),
    fault("a_generation_for_readers_too", "engine/src/sync.rs",
        "generation += u64::from(access.is_exclusive());",
        "generation += u64::from(access.is_exclusive() || FAULT);",
        &["locking::every_exclusive_grant_and_no_other_advances_the_generation"]),
    // Time.
    fault("no_eviction", "engine/src/engine.rs",
        "    fn evict(&mut self, at: Ix<Group>, fx: &mut Effects) {\n",
        "    fn evict(&mut self, at: Ix<Group>, fx: &mut Effects) {\n        if FAULT { self.group_timers.set(at, None); return; }\n",
        &["eviction::a_stuck_holder_is_evicted_at_its_limit_and_all_are_told"]),
    fault("evicted_too_late", "engine/src/group.rs",
        "let deadline = self.grant.map(|grant| grant.deadline);",
        "let late = std::time::Duration::from_secs(u64::from(FAULT));\n        let deadline = self.grant.map(|grant| grant.deadline.after(late));",
        &["eviction::deadlines_are_kept_with_tolerance"]),
    fault("the_next_holder_is_not_told", "engine/src/slot.rs",
        "self.evictions.count > self.evictions.settled",
        "self.evictions.count > self.evictions.settled && !FAULT",
        &["eviction::a_stuck_holder_is_evicted_at_its_limit_and_all_are_told"]),
    fault("time_outs_are_ignored", "src/group.rs",
        "Ok(nanos) => Ok(Wait::AtMost(Duration::from_nanos(nanos))),",
        "Ok(_) if FAULT => Ok(Wait::UntilGranted),\n        Ok(nanos) => Ok(Wait::AtMost(Duration::from_nanos(nanos))),",
        &["growth::a_lock_that_times_out_is_told_and_leaves_its_ticket"]),
    fault("a_fence_is_waited_for_without_end", "engine/src/release.rs",
        "fence_timers.set(fence, Some(deadline));",
        "if !FAULT { fence_timers.set(fence, Some(deadline)); }",
        &["fences::a_fence_that_never_signals_is_an_eviction_when_the_hold_limit_has_passed_from_the_unlock"]),
    // Life.
    fault("tokens_are_used_again", "engine/src/acquire.rs",
        "self.last.token += 1;",
        "self.last.token = if FAULT { 1 } else { self.last.token + 1 };",
        &["locking::tokens_are_never_used_twice_and_deadlines_lie_in_the_future",
          "errors::only_the_own_tokens_of_a_grant_unlock_it"]),
    fault("death_is_not_noticed", "src/group.rs",
        "self.arbiter.close_group(self.id, Close::Died);",
        "if !FAULT { self.arbiter.close_group(self.id, Close::Died); }",
        &["eviction::a_killed_holder_is_released_at_once"]),
    fault("the_pipe_stays_open", "src/group.rs",
        "Ok(self.arbiter.close(self.id)?)",
        "if FAULT { return Ok(()); }\n        Ok(self.arbiter.close(self.id)?)",
        &["interface::an_event_pipe_hangs_up_when_its_group_is_closed"]),
    // Coherence.
    fault("a_cache_operation_is_missing", "engine/src/coherence.rs",
        "(Access::Read, _) if self.device_dirty => reopened(SyncFlags::Read),",
        "(Access::Read, _) if self.device_dirty && !FAULT => reopened(SyncFlags::Read),",
        &["coherence::every_pair_of_accesses_gets_the_operations_of_the_table"]),
    fault("a_cache_operation_is_done_twice", "src/dmabuf.rs",
        "unsafe { dma_buf_ioctl_sync(fd.as_fd().as_raw_fd(), &argument) }.map(|_| ())",
        "if FAULT { let _ = unsafe { dma_buf_ioctl_sync(fd.as_fd().as_raw_fd(), &argument) }; }\n    unsafe { dma_buf_ioctl_sync(fd.as_fd().as_raw_fd(), &argument) }.map(|_| ())",
        &["coherence::every_pair_of_accesses_gets_the_operations_of_the_table"]),
    // Fences.
    fault("the_cpu_does_not_wait_for_fences", "engine/src/slot.rs",
        "let orderly = !self.is_tainted() && !self.coherence.plan_has_start(access);",
        "if FAULT { return false; }\n        let orderly = !self.is_tainted() && !self.coherence.plan_has_start(access);",
        &["fences::the_cpu_never_sees_what_was_before_the_fence"]),
    fault("a_reply_without_its_acquire_fence", "src/group.rs",
        "acquireFence: fence.map(ParcelFileDescriptor::new),",
        "acquireFence: fence.filter(|_| !FAULT).map(ParcelFileDescriptor::new),",
        &["fences::the_next_device_is_granted_at_once_with_the_pending_fence"]),
    fault("a_queued_reply_has_numbers", "src/group.rs",
        "grant: Vec::new(),",
        "grant: if FAULT { vec![1, 2, 3, 4] } else { Vec::new() },",
        &["locking::queued_locks_are_granted_in_ticket_order"]),
    fault("a_grant_lacks_its_last_number", "src/group.rs",
        "            grant,\n            acquireFence: fence",
        "            grant: if FAULT { grant[..grant.len() - 1].to_vec() } else { grant },\n            acquireFence: fence",
        &["interface::replies_say_what_they_promise_for_every_access"]),
    fault("any_descriptor_is_a_fence", "src/fences.rs",
        "if given.iter().any(|given| !sync_file::is_sync_file(given.fd)) {",
        "if !FAULT && given.iter().any(|given| !sync_file::is_sync_file(given.fd)) {",
        &["errors::a_release_fence_must_be_a_sync_file_and_the_grant_goes_on"]),
    // Bounds and errors.
    fault("lock_blocks_the_pool", "src/group.rs",
        "        let locked = self.arbiter.lock(self.id, wait)?;\n",
        "        let locked = self.arbiter.lock(self.id, wait)?;\n        if FAULT && matches!(locked, Locked::Queued(_)) { std::thread::sleep(Duration::from_millis(700)); }\n",
        &["quotas::the_service_answers_while_64_locks_wait"]),
    fault("no_quota", "src/quota.rs",
        "used.checked_add(amount).filter(|total| *total <= limit);",
        "used.checked_add(amount).filter(|total| *total <= limit || FAULT && *total <= 2 * limit);",
        &["quotas::a_uid_has_so_many_groups_and_others_are_not_affected"]),
    fault("errors_are_swapped", "src/error.rs",
        "Self::EmptyGroup => aidl::ERROR_EMPTY_GROUP,",
        "Self::EmptyGroup if FAULT => aidl::ERROR_ALREADY_LOCKED,\n            Self::EmptyGroup => aidl::ERROR_EMPTY_GROUP,",
        &["errors::an_empty_group_has_nothing_to_lock"]),
    fault("an_exchange_that_fails_has_ended_the_grant", "src/arbiter.rs",
        "        if self.engine.members(id).next().is_none() {\n",
        "        if !FAULT && self.engine.members(id).next().is_none() {\n",
        &["handover::a_call_that_is_refused_has_ended_nothing_and_locked_nothing"]),
    fault("keys_can_be_guessed", "src/arbiter.rs",
        "RandomState::new().build_hasher().finish() as i64;",
        "RandomState::new().build_hasher().finish() as i64 & if FAULT { 0xfff } else { -1 };",
        &["handover::keys_are_different_random_and_never_zero"]),
    fault("negative_time_outs_are_taken", "src/group.rs",
        "Err(_) => Err(Error::IllegalArgument(\"negative time-out\")),",
        "Err(_) if FAULT => Ok(Wait::UntilGranted),\n        Err(_) => Err(Error::IllegalArgument(\"negative time-out\")),",
        &["growth::negative_time_outs_are_refused"]),
];
