// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Grants that end in parts, and writers that go on as readers.

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::HoldFrom::HoldFrom;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::*;
use buffersync_aidl::event::FLAG_FENCE;
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use buffersync_vts::fence::{has_signalled, Pending};
use buffersync_vts::hal::{
    counter, error, eventually, is_granted, is_illegal_argument, of_buffer, service, whole, Grant,
    Group, SHORT,
};
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![
    a_part_goes_to_the_next_while_the_rest_is_held,
    the_rest_of_a_grant_keeps_its_token_and_its_deadline,
    what_was_let_go_is_locked_again,
    a_part_ends_with_fences_of_its_own,
    the_fence_of_a_part_that_never_signals_leaves_the_rest,
    a_channel_that_nobody_reads_takes_no_fences_of_parts,
    a_writer_goes_on_as_a_reader_and_no_writer_comes_between,
    a_writer_that_has_shared_can_ask_for_its_access_again,
    a_writer_that_has_shared_makes_the_content_whole_and_leaves_none_torn,
    wrong_parts_are_refused_and_change_nothing,
];

const SIZE: usize = 16 * 1024;

fn buffers<const N: usize>() -> [DmaBuf; N] {
    [(); N].map(|()| heap::allocate(SIZE).expect("heap"))
}

/// A group that has all buffers, and the ids of these.
fn holder<const N: usize>(buffers: &[DmaBuf; N], access: Access) -> (Group, [i64; N]) {
    let group = Group::open("vts/holder");
    let ids = std::array::from_fn(|nth| group.add(&buffers[nth], access));
    (group, ids)
}

fn try_lock(group: &mut Group) -> Option<Grant> {
    let reply = group.binder.try_lock().ok()?;
    Some(group.granted(&reply))
}

fn a_part_goes_to_the_next_while_the_rest_is_held() {
    let all = buffers::<3>();
    let (mut camera, [_, second, third]) = holder(&all, Access::DMA_WRITE);
    let mut others = [0, 1, 2].map(|nth| Group::of("vts/other", &all[nth], Access::DMA_READ));
    let held = camera.lock();
    for other in &mut others {
        other.lock_must_wait();
    }
    camera.binder.unlock_some(held.token, &[third], &[]).expect("unlockBuffers");
    others[2].next_grant();
    assert!(others[0].nothing_within(SHORT) && others[1].nothing_within(SHORT));
    // To name one twice is to name it once.
    camera.binder.unlock_some(held.token, &[second, second], &[]).expect("unlockBuffers");
    others[1].next_grant();
    assert!(others[0].nothing_within(SHORT));
    camera.unlock(&held);
    others[0].next_grant();
}

fn the_rest_of_a_grant_keeps_its_token_and_its_deadline() {
    let all = buffers::<2>();
    let mut group = Group::with_hold("vts/holder", 700);
    let [first, second] = [0, 1].map(|nth| group.add(&all[nth], Access::WRITE));
    let held = group.lock();
    group.binder.unlock_some(held.token, &[first], &[]).expect("unlockBuffers");
    assert_eq!(group.next_eviction(held.token), 0);
    assert!(buffersync_vts::hal::now_ns() >= held.deadline);
    assert_eq!(error(group.binder.unlock(held.token)), ERROR_EVICTED);
    // Only the rest was taken away.
    let marks = [0, 1].map(|nth| Group::of("vts/other", &all[nth], Access::READ).cycle().marks());
    assert_eq!(marks, [(false, false), (true, true)]);
    // When no buffer is left, the grant has ended.
    let held = group.lock();
    for buffer in [first, second] {
        group.binder.unlock_some(held.token, &[buffer], &[]).expect("unlockBuffers");
    }
    assert_eq!(error(group.binder.unlock(held.token)), ERROR_ENDED);
    // No buffer named: all of them.
    let held = group.lock();
    group.binder.unlock_some(held.token, &[], &[]).expect("unlockBuffers");
    assert_eq!(error(group.binder.unlock(held.token)), ERROR_ENDED);
}

fn what_was_let_go_is_locked_again() {
    let all = buffers::<2>();
    let (mut group, [first, _]) = holder(&all, Access::DMA_WRITE);
    let held = group.lock();
    group.binder.unlock_some(held.token, &[first], &[]).expect("unlockBuffers");
    Group::of("vts/other", &all[0], Access::DMA_WRITE).cycle();
    let grown = group.grow();
    assert_eq!((grown.token, grown.deadline), (held.token, held.deadline));
    assert_eq!(grown.buffers.len(), 2);
    assert_eq!(error(group.binder.grow(0)), ERROR_ALREADY_LOCKED);
    group.unlock(&grown);
}

fn a_part_ends_with_fences_of_its_own() {
    let pending = Pending::new();
    let all = buffers::<2>();
    let (mut giver, [first, second]) = holder(&all, Access::DMA_WRITE);
    let held = giver.lock();
    let foreign = [of_buffer(second, &pending.sync_file)];
    let refused = giver.binder.unlock_some(held.token, &[first], &foreign);
    assert_eq!(error(refused), ERROR_UNKNOWN_BUFFER, "the fence is for a buffer that stays");
    let fences = [whole(&pending.sync_file)];
    giver.binder.unlock_some(held.token, &[first], &fences).expect("unlockBuffers");

    let mut device = Group::of("vts/device", &all[0], Access::DMA_READ);
    let reply = device.binder.lock(0).expect("lock");
    assert!(is_granted(&reply), "a device waits for the fence itself");
    let fence = reply.fence.as_ref().expect("an acquire fence").as_ref();
    let fence = fence.try_clone().expect("dup");
    assert!(!has_signalled(&fence));
    let grant = device.granted(&reply);
    device.unlock(&grant);
    let mut cpu = Group::of("vts/cpu", &all[0], Access::READ);
    cpu.lock_must_wait();
    pending.signal();
    cpu.next_grant();
    assert!(has_signalled(&fence));
    // No fence is left for the rest.
    giver.unlock(&held);
    let mut other = Group::of("vts/other", &all[1], Access::DMA_WRITE);
    assert!(other.cycle().fenced.is_empty());
}

/// The rest has no deadline, since nobody waits for it.
fn the_fence_of_a_part_that_never_signals_leaves_the_rest() {
    let never = Pending::new();
    let all = buffers::<2>();
    let options =
        GroupOptions { holdLimitMs: 200, holdFrom: HoldFrom::CONFLICT, ..GroupOptions::default() };
    let mut group = Group::with_options("vts/holder", &options);
    let [first, _] = [0, 1].map(|nth| group.add(&all[nth], Access::DMA_WRITE));
    let held = group.lock();
    let fences = [whole(&never.sync_file)];
    group.binder.unlock_some(held.token, &[first], &fences).expect("unlockBuffers");
    assert_eq!(group.next_eviction(held.token), FLAG_FENCE);
    group.unlock(&held);
    let marks =
        [0, 1].map(|nth| Group::of("vts/next", &all[nth], Access::DMA_READ).cycle().marks());
    assert_eq!(marks, [(true, true), (false, false)]);
}

/// The fences of parts become records that nobody reads. So there is a part that is refused.
fn a_channel_that_nobody_reads_takes_no_fences_of_parts() {
    let never = Pending::new();
    let all = buffers::<10>();
    let options =
        GroupOptions { holdLimitMs: 100, holdFrom: HoldFrom::CONFLICT, ..GroupOptions::default() };
    let group = Group::with_options("vts/holder", &options);
    let ids: [i64; 10] = std::array::from_fn(|nth| group.add(&all[nth], Access::DMA_WRITE));
    let token = group.binder.lock(0).expect("lock").token;
    let limits = service().getCapabilities().expect("capabilities");
    let most = limits.maxFencesPerGroup.min(limits.maxBuffersPerGroup);
    let fences: Vec<_> = (0..most).map(|_| whole(&never.sync_file)).collect();
    let refused = ids[..9].iter().find_map(|id| {
        let refused = group.binder.unlock_some(token, &[*id], &fences).err();
        eventually("their time is up", || counter("fences") == 0);
        refused.map(|refused| (*id, refused))
    });
    let (id, refused) = refused.expect("a channel has an end");
    assert_eq!(error(Err::<(), _>(refused)), ERROR_EVENTS_UNREAD);
    // Without a fence there is no record.
    group.binder.unlock_some(token, &[id], &[]).expect("unlockBuffers");
    group.binder.unlock(token).expect("the rest is held");
}

fn a_writer_goes_on_as_a_reader_and_no_writer_comes_between() {
    for (write, read) in [(Access::WRITE, Access::READ), (Access::DMA_WRITE, Access::DMA_READ)] {
        let all = buffers::<1>();
        let (mut encoder, [id]) = holder(&all, write);
        let mut reader = Group::of("vts/reader", &all[0], read);
        let mut writer = Group::of("vts/writer", &all[0], write);
        let held = encoder.lock();
        reader.lock_must_wait();
        writer.lock_must_wait();
        encoder.binder.downgrade(held.token, &[id]).expect("downgrade");
        let seen = reader.next_grant();
        assert_eq!(seen.buffers[0].1, held.buffers[0].1, "nobody has written");
        assert!(writer.nothing_within(SHORT), "two read");
        // What is shared already stays as it is.
        encoder.binder.downgrade(held.token, &[id]).expect("downgrade");
        reader.unlock(&seen);
        assert!(writer.nothing_within(SHORT), "one reads");
        encoder.unlock(&held);
        writer.next_grant();
    }
}

fn a_writer_that_has_shared_can_ask_for_its_access_again() {
    let [buffer] = buffers();
    let mut group = Group::of("vts/encoder", &buffer, Access::WRITE);
    let mut reader = Group::of("vts/reader", &buffer, Access::READ);
    let held = group.lock();
    // No buffer named: all of them.
    group.binder.downgrade(held.token, &[]).expect("downgrade");
    reader.cycle();
    let read = group.binder.object.grow(held.token, &[], &[Access::READ], 0);
    assert!(is_illegal_argument(read), "an access without a buffer");
    let grown = group.grow();
    assert_eq!(grown.token, held.token);
    assert!(try_lock(&mut reader).is_none(), "it writes again");
    group.unlock(&grown);
}

fn a_writer_that_has_shared_makes_the_content_whole_and_leaves_none_torn() {
    let [buffer] = buffers();
    let evicted = |hold_ms, shares: bool| {
        let mut group = Group::with_hold("vts/stuck", hold_ms);
        let id = group.add(&buffer, Access::DMA_WRITE);
        let held = group.lock();
        if shares {
            group.binder.downgrade(held.token, &[id]).expect("downgrade");
        }
        // The reader comes in beside one that shares, and after one that does not.
        let marks = Group::of("vts/reader", &buffer, Access::DMA_READ).cycle().marks();
        assert_eq!(group.next_eviction(held.token), 0);
        marks
    };
    assert_eq!(evicted(200, false), (true, true), "a writer was evicted");
    assert_eq!(evicted(400, true), (false, false), "its successor has made the content whole");
    let marks = Group::of("vts/next", &buffer, Access::DMA_READ).cycle().marks();
    assert_eq!(marks, (true, false), "it was evicted as a reader");
}

fn wrong_parts_are_refused_and_change_nothing() {
    let all = buffers::<3>();
    let (mut group, [first, second, _]) = holder(&all, Access::WRITE);
    let mut other = Group::of("vts/other", &all[2], Access::WRITE);
    let theirs = other.lock();
    group.binder.remove(theirs.buffers[0].0).expect("remove");
    let held = group.lock();
    let most = service().getCapabilities().expect("capabilities").maxBuffersPerGroup as usize;
    let part = |token, part: &[i64]| group.binder.unlock_some(token, part, &[]);
    let share = |token, part: &[i64]| group.binder.downgrade(token, part);
    let too_many = vec![first; most + 1];
    assert!(is_illegal_argument(part(held.token, &too_many)));
    assert!(is_illegal_argument(share(held.token, &too_many)));
    for wrong in [&[theirs.buffers[0].0][..], &[first, theirs.buffers[0].0], &[0], &[-1]] {
        assert_eq!(error(part(held.token, wrong)), ERROR_UNKNOWN_BUFFER);
        assert_eq!(error(share(held.token, wrong)), ERROR_UNKNOWN_BUFFER);
    }
    for token in [held.token + 1, 0, -1] {
        assert_eq!(error(part(token, &[first])), ERROR_BAD_LOCK);
        assert_eq!(error(share(token, &[first])), ERROR_BAD_LOCK);
    }
    // While it waits for more.
    group.add(&all[2], Access::WRITE);
    group.grow_must_wait();
    assert_eq!(error(group.binder.unlock_some(held.token, &[first], &[])), ERROR_BUSY);
    assert_eq!(error(group.binder.downgrade(held.token, &[first])), ERROR_BUSY);
    group.binder.cancel().expect("cancel");
    for nth in [0, 1] {
        let mut reader = Group::of("vts/reader", &all[nth], Access::READ);
        assert!(try_lock(&mut reader).is_none(), "it is held as before");
    }
    group.binder.unlock_some(held.token, &[first, second], &[]).expect("unlockBuffers");
}
