// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Tests of a group over a service that follows a script, call by call: lost replies, and records that come
//! at any time.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use binder::{Interface, ParcelFileDescriptor, Status, StatusCode};
use buffersync_aidl::aidl::vendor::buffersync::Access::Access as AidlAccess;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync as codes;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::{BnSyncGroup, ISyncGroup};
use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::aidl::vendor::buffersync::LockState::LockState;
use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;
use buffersync_aidl::aidl::NativeHandle;
use buffersync_aidl::event::{self, Record};
use buffersync_aidl::runtime;
use nix::sys::socket::{socketpair, AddressFamily, SockFlag, SockType};

use crate::error::Error;
use crate::events::{Event, EventChannel};
use crate::group::Group;
use crate::types::{Access, BufferId, InTheWay, LockId};

/// What the service answers.
pub(crate) enum Answer {
    Done,
    /// The reply is lost. Only the next answers tell if the call was done.
    Lost,
    Code(i32),
    Granted(Vec<i64>),
    Queued,
    States(Vec<LockState>),
    /// First sends these records.
    Then(Vec<Record>, Box<Answer>),
}
pub(crate) use Answer::{Code, Done, Granted, Lost, Queued, States, Then};

#[derive(Default)]
struct Script {
    calls: VecDeque<(String, Answer)>,
    /// A call that the script did not have.
    wrong: Option<String>,
}

struct Service {
    script: Arc<Mutex<Script>>,
    events: OwnedFd,
}

type BinderResult<T> = std::result::Result<T, Status>;

impl Service {
    fn answer(&self, call: &str) -> BinderResult<Answer> {
        let mut script = self.script.lock().unwrap();
        let mut answer = match script.calls.pop_front() {
            Some((expected, answer)) if expected == call => answer,
            other => {
                let expected = other.map(|(expected, _)| expected);
                script.wrong = Some(format!("{call} instead of {expected:?}"));
                Code(99)
            }
        };
        loop {
            match answer {
                Then(records, next) => {
                    for record in records {
                        let bytes = record.to_bytes();
                        assert_eq!(nix::unistd::write(&self.events, &bytes), Ok(bytes.len()));
                    }
                    answer = *next;
                }
                Lost => return Err(StatusCode::FailedTransaction.into()),
                Code(code) => return Err(runtime::service_specific(code, "scripted")),
                answer => return Ok(answer),
            }
        }
    }

    fn done(&self, call: &str) -> BinderResult<()> {
        self.answer(call).map(drop)
    }

    fn lock_reply(&self, call: &str) -> BinderResult<LockReply> {
        Ok(match self.answer(call)? {
            Granted(grant) => LockReply { grant, ..LockReply::default() },
            _ => LockReply::default(),
        })
    }
}

impl Interface for Service {}

impl ISyncGroup for Service {
    fn add(&self, _: &NativeHandle, _: AidlAccess) -> BinderResult<Vec<i64>> {
        self.answer("add").map(|_| vec![1])
    }

    fn remove(&self, buffers: &[i64]) -> BinderResult<()> {
        self.done(&format!("remove {buffers:?}"))
    }

    fn lock(&self, lock: i64, b: &[i64], _: &[AidlAccess], _: i64) -> BinderResult<LockReply> {
        self.lock_reply(&format!("lock {lock} {b:?}"))
    }

    fn grow(&self, lock: i64, b: &[i64], _: &[AidlAccess], _: i64) -> BinderResult<LockReply> {
        self.lock_reply(&format!("grow {lock} {b:?}"))
    }

    fn cancel(&self, lock: i64) -> BinderResult<()> {
        self.done(&format!("cancel {lock}"))
    }

    fn getAcquireFence(&self, lock: i64, _: i64) -> BinderResult<Option<ParcelFileDescriptor>> {
        self.done(&format!("fence {lock}")).map(|()| None)
    }

    fn unlock(&self, lock: i64) -> BinderResult<()> {
        self.done(&format!("unlock {lock}"))
    }

    fn unlockBuffers(&self, lock: i64, b: &[i64], _: &[ReleaseFence]) -> BinderResult<()> {
        self.done(&format!("unlock {lock} {b:?}"))
    }

    fn downgrade(&self, lock: i64, buffers: &[i64]) -> BinderResult<()> {
        self.done(&format!("downgrade {lock} {buffers:?}"))
    }

    fn unlockAndLock(
        &self,
        done: i64,
        _: &[ReleaseFence],
        lock: i64,
        buffers: &[i64],
        _: &[AidlAccess],
        _: i64,
    ) -> BinderResult<LockReply> {
        self.lock_reply(&format!("unlock {done} lock {lock} {buffers:?}"))
    }

    fn getLocks(&self) -> BinderResult<Vec<LockState>> {
        Ok(match self.answer("locks")? {
            States(states) => states,
            _ => Vec::new(),
        })
    }

    fn getGroupName(&self, group: i64) -> BinderResult<Option<String>> {
        Ok(Some(format!("group {group}")))
    }

    fn close(&self) -> BinderResult<()> {
        // The end of each test.
        Ok(())
    }
}

/// A group whose service answers these calls, and no others.
pub(crate) fn group<'a>(calls: impl IntoIterator<Item = (&'a str, Answer)>) -> (Group, Ending) {
    let kind = SockType::SeqPacket;
    let ends = socketpair(AddressFamily::Unix, kind, None, SockFlag::empty()).unwrap();
    let calls = calls.into_iter().map(|(call, answer)| (call.to_string(), answer)).collect();
    let script = Arc::new(Mutex::new(Script { calls, wrong: None }));
    let service = Service { script: Arc::clone(&script), events: ends.1 };
    let binder = buffersync_aidl::new_binder!(BnSyncGroup, service);
    let events = EventChannel::new(ends.0).unwrap();
    (Group::new(binder, events, Duration::from_secs(5)), Ending(script))
}

/// Checks at the end that the script was followed.
pub(crate) struct Ending(Arc<Mutex<Script>>);

impl Ending {
    pub(crate) fn calls_left(&self) -> usize {
        self.0.lock().unwrap().calls.len()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let script = self.0.lock().unwrap();
        let left: Vec<&String> = script.calls.iter().map(|(call, _)| call).collect();
        assert_eq!((&script.wrong, left), (&None, Vec::new()));
    }
}

/// A grant of buffers, each with its generation.
fn granted(buffers: &[(i64, i64)]) -> Vec<i64> {
    let mut numbers = vec![i64::MAX];
    numbers.extend(buffers.iter().flat_map(|(id, generation)| [*id, *generation, 0]));
    numbers
}

fn state(lock: i64, waiting: bool, buffers: &[(i64, i64)]) -> LockState {
    LockState { lock, waiting, grant: granted(buffers) }
}

pub(crate) fn record(kind: i32, token: i64) -> Record {
    Record { kind, token, ..Record::default() }
}

fn is_lost<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::ReplyLost(_)))
}

pub(crate) const ONE: (BufferId, Access) = (BufferId(1), Access::Read);
pub(crate) const TWO: (BufferId, Access) = (BufferId(2), Access::Read);

/// As a TIMED_OUT record without a lock in the way says it.
pub(crate) const TIMED_OUT: Error = Error::TimedOut { by: None, silent: false };
const EVICTED: Error = Error::Evicted { by: None };

fn buffers(group: &Group, lock: LockId) -> Option<usize> {
    group.granted(lock).ok().map(|grant| grant.buffers.len())
}

/// The text of a scripted refusal.
fn scripted() -> String {
    "scripted".to_string()
}

#[test]
fn a_lock_whose_reply_is_lost_is_ended() {
    for ended in [Done, Code(codes::ERROR_BAD_LOCK), Code(codes::ERROR_ENDED)] {
        // A record of the lock may be there already.
        let lost = Then(vec![record(event::CONTENDED, 1)], Box::new(Lost));
        let (group, _ending) = group([
            ("lock 1 []", lost),
            ("unlock 1", ended),
            ("lock 2 []", Granted(granted(&[(1, 1)]))),
            ("unlock 2", Done),
        ]);
        assert!(is_lost(group.lock(&[], None)));
        assert_eq!(group.read_event(), Ok(None), "of a lock that has ended");
        assert_eq!(group.lock(&[], None), Ok(LockId(2)));
        group.unlock(LockId(2), None).unwrap();
    }
}

#[test]
fn a_lock_that_could_not_be_ended_is_ended_before_the_next_request() {
    let (group, _ending) = group([
        ("lock 1 [1]", Lost),
        ("unlock 1", Lost),
        ("unlock 1", Lost),
        ("unlock 1", Code(codes::ERROR_ENDED)),
        ("lock 2 [1]", Granted(granted(&[(1, 1)]))),
    ]);
    assert!(is_lost(group.lock(&[ONE], None)));
    assert!(is_lost(group.lock(&[ONE], None)), "still unclear: no number is used");
    assert_eq!(group.lock(&[ONE], None), Ok(LockId(2)));
    assert!(group.granted(LockId(2)).is_ok());
}

#[test]
fn a_growth_whose_reply_is_lost_is_what_the_service_says() {
    let before = [(1, 7)];
    let first = || ("lock 1 [1]", Granted(granted(&before)));
    let buffers = |group: &Group| buffers(group, LockId(1));

    // It was done: another buffer, or a stronger access.
    for after in [&[(1, 7), (2, 1)][..], &[(1, 8)]] {
        let states = States(vec![state(1, false, after)]);
        let (group, _ending) = group([first(), ("grow 1 [2]", Lost), ("locks", states)]);
        let lock = group.lock(&[ONE], None).unwrap();
        assert_eq!(group.grow(lock, &[TWO], None), Ok(()));
        assert_eq!(buffers(&group), Some(after.len()));
    }

    // It was not done.
    let states = States(vec![state(1, false, &before)]);
    let (unchanged, _ending) = group([first(), ("grow 1 [2]", Lost), ("locks", states)]);
    let lock = unchanged.lock(&[ONE], None).unwrap();
    assert!(is_lost(unchanged.grow(lock, &[TWO], None)));
    assert_eq!(buffers(&unchanged), Some(1));

    // It waits, and times out later.
    let timed_out = Then(vec![record(event::TIMED_OUT, 1)], Box::new(Done));
    let states = || States(vec![state(1, true, &before)]);
    let calls =
        [first(), ("grow 1 [2]", Lost), ("locks", states()), ("downgrade 1 [1]", timed_out)];
    let (waits, _ending) = group(calls);
    let lock = waits.lock(&[ONE], None).unwrap();
    assert_eq!(waits.start_grow(lock, &[TWO], None), Ok(false));
    waits.downgrade(lock, &[BufferId(1)]).unwrap();
    assert_eq!(waits.wait(lock), Err(TIMED_OUT));
    assert_eq!(buffers(&waits), Some(1));

    // It waited, and was wounded before the client asked.
    let wounded = Then(vec![record(event::WOUNDED, 1)], Box::new(states()));
    let (told, _ending) = group([first(), ("grow 1 [2]", Lost), ("locks", wounded)]);
    let lock = told.lock(&[ONE], None).unwrap();
    assert_eq!(told.grow(lock, &[TWO], None), Err(Error::Deadlock));
    assert_eq!((buffers(&told), told.read_event()), (Some(1), Ok(None)));

    // The grant was taken away.
    let (gone, _ending) = group([first(), ("grow 1 [2]", Lost), ("locks", States(Vec::new()))]);
    let lock = gone.lock(&[ONE], None).unwrap();
    assert_eq!(gone.grow(lock, &[TWO], None), Err(EVICTED));
    assert_eq!(buffers(&gone), None);
}

#[test]
fn a_growth_that_stays_unclear_is_given_up_before_the_next_request() {
    let states = States(vec![state(1, true, &[(1, 7)])]);
    let (group, _ending) = group([
        ("lock 1 []", Granted(granted(&[(1, 7)]))),
        ("grow 1 []", Lost),
        ("locks", Lost),
        ("locks", states),
        ("cancel 1", Done),
        ("grow 1 []", Code(codes::ERROR_ALREADY_LOCKED)),
        ("grow 1 []", Lost),
        ("locks", Lost),
        ("locks", States(vec![state(1, false, &[(1, 7), (2, 1)])])),
        ("grow 1 []", Code(codes::ERROR_ALREADY_LOCKED)),
        ("unlock 1", Done),
    ]);
    let lock = group.lock(&[], None).unwrap();
    assert!(is_lost(group.grow(lock, &[], None)));
    assert_eq!(group.grow(lock, &[], None), Err(Error::AlreadyLocked(scripted())));
    assert!(is_lost(group.grow(lock, &[], None)));
    assert_eq!(group.grow(lock, &[], None), Err(Error::AlreadyLocked(scripted())));
    assert_eq!(buffers(&group, lock), Some(2));
    group.unlock(lock, None).unwrap();
}

#[test]
fn after_an_exchange_whose_reply_is_lost_both_locks_have_ended() {
    let exchange = "unlock 1 lock 2 []";
    // It was done: the new lock is there, or has ended again.
    for ended in [Done, Code(codes::ERROR_EVICTED)] {
        let (group, _ending) = group([
            ("lock 1 []", Granted(granted(&[(1, 1)]))),
            (exchange, Lost),
            ("unlock 2", ended),
            ("lock 3 []", Granted(granted(&[(1, 2)]))),
            ("unlock 3", Done),
        ]);
        let lock = group.lock(&[], None).unwrap();
        assert!(is_lost(group.unlock_and_lock(lock, None, &[], None)));
        assert_eq!(group.granted(lock), Err(Error::Ended));
        let lock = group.lock(&[], None).unwrap();
        group.unlock(lock, None).unwrap();
    }
    // It was not done, or nobody knows.
    let not_done = vec![("unlock 2", Code(codes::ERROR_BAD_LOCK)), ("unlock 1", Done)];
    let unknown =
        vec![("unlock 2", Lost), ("unlock 1", Lost), ("unlock 1", Done), ("unlock 2", Done)];
    for then in [not_done, unknown] {
        let first = [("lock 1 []", Granted(granted(&[(1, 1)]))), (exchange, Lost)];
        let last = [("lock 3 []", Queued)];
        let (group, _ending) = group(first.into_iter().chain(then).chain(last));
        let lock = group.lock(&[], None).unwrap();
        assert!(is_lost(group.unlock_and_lock(lock, None, &[], None)));
        assert_eq!(group.granted(lock), Err(Error::Ended));
        assert_eq!(group.start_lock(&[], None), Ok((LockId(3), false)));
    }
}

#[test]
fn an_unlock_whose_reply_is_lost_is_repeated() {
    for (second, expected) in [
        (Done, Ok(())),
        (Code(codes::ERROR_ENDED), Ok(())),
        (Code(codes::ERROR_EVICTED), Err(EVICTED)),
    ] {
        let (group, _ending) = group([
            ("lock 1 []", Granted(granted(&[(1, 1)]))),
            ("unlock 1", Lost),
            ("unlock 1", second),
        ]);
        let lock = group.lock(&[], None).unwrap();
        assert_eq!(group.unlock(lock, None), expected);
        assert_eq!(group.granted(lock), Err(Error::Ended));
    }
    let (group, _ending) = group([
        ("lock 1 [1]", Granted(granted(&[(1, 1)]))),
        ("unlock 1", Lost),
        ("unlock 1", Lost),
        ("unlock 1", Done),
        ("remove []", Done),
    ]);
    let lock = group.lock(&[ONE], None).unwrap();
    assert!(is_lost(group.unlock(lock, None)));
    assert_eq!(group.unlock(lock, None), Err(Error::Ended));
    group.remove_all().unwrap();
}

#[test]
fn a_part_whose_unlock_is_lost_is_let_go_once() {
    let both = granted(&[(1, 1), (2, 1)]);
    let (group, _ending) = group([
        ("lock 1 []", Granted(both)),
        ("unlock 1 [1]", Lost),
        ("unlock 1 [1]", Code(codes::ERROR_UNKNOWN_BUFFER)),
        ("unlock 1 [2]", Lost),
        ("unlock 1 [2]", Code(codes::ERROR_ENDED)),
    ]);
    let lock = group.lock(&[], None).unwrap();
    let part = |id| group.unlock_buffers(lock, &[BufferId(id)], None);
    assert_eq!(part(1), Ok(()));
    assert!(matches!(part(1), Err(Error::UnknownBuffer(_))), "without a call");
    assert_eq!(part(2), Ok(()));
    assert_eq!(part(2), Err(Error::Ended), "nothing is left");
}

#[test]
fn a_part_whose_fence_is_not_taken_is_let_go_after_the_fence() {
    let all = granted(&[(1, 1), (2, 1), (3, 1)]);
    let (group, _ending) = group([
        ("lock 1 []", Granted(all)),
        ("unlock 1 [1]", Code(codes::ERROR_QUOTA)),
        ("unlock 1 [1]", Done),
        ("unlock 1 [2]", Lost),
        ("unlock 1 [2]", Code(codes::ERROR_UNKNOWN_BUFFER)),
        ("unlock 1 [3]", Code(codes::ERROR_QUOTA)),
    ]);
    let lock = group.lock(&[], None).unwrap();
    for id in [1, 2] {
        let (fence, device) = nix::unistd::pipe().unwrap();
        let device = std::thread::spawn(|| drop(device));
        let done = group.unlock_buffers(lock, &[BufferId(id)], fence);
        assert_eq!(done, Ok(()));
        device.join().unwrap();
    }
    // Without a fence there is nothing to wait for.
    let refused = group.unlock_buffers(lock, &[BufferId(3)], None);
    assert_eq!(refused, Err(Error::Quota(scripted())));
}

#[test]
fn a_cancel_whose_reply_is_lost_is_told_from_a_grant() {
    // It was done.
    let (done, _ending) =
        group([("lock 1 []", Queued), ("cancel 1", Lost), ("cancel 1", Code(codes::ERROR_ENDED))]);
    done.start_lock(&[], None).unwrap();
    assert_eq!(done.cancel(LockId(1)), Ok(()));
    // The lock timed out before.
    let timed_out = Then(vec![record(event::TIMED_OUT, 1)], Box::new(Lost));
    let (late, _ending) = group([
        ("lock 1 []", Queued),
        ("cancel 1", timed_out),
        ("cancel 1", Code(codes::ERROR_ENDED)),
    ]);
    late.start_lock(&[], None).unwrap();
    assert_eq!(late.cancel(LockId(1)), Err(Error::NotQueued));
    let event = Event::TimedOut { lock: LockId(1), by: None };
    assert_eq!(late.read_event(), Ok(Some(event)));
}

#[test]
fn a_wait_keeps_the_events_of_other_locks() {
    let others = vec![
        record(event::TIMED_OUT, 1),
        record(event::CONTENDED, 9),
        Record { flags: event::FLAG_FENCE, ..record(event::EVICTED, 9) },
        record(event::TIMED_OUT, 2),
    ];
    let (group, _ending) =
        group([("lock 1 [1]", Queued), ("lock 2 [2]", Then(others, Box::new(Queued)))]);
    assert_eq!(group.start_lock(&[ONE], None), Ok((LockId(1), false)));
    assert_eq!(group.lock(&[TWO], None), Err(TIMED_OUT));
    let first = Event::TimedOut { lock: LockId(1), by: None };
    assert_eq!(group.read_event(), Ok(Some(first)));
    let late = Event::Evicted { lock: LockId(9), by_fence: true, by: None };
    assert_eq!(group.read_event(), Ok(Some(late)));
    assert_eq!((group.read_event(), group.evictions()), (Ok(None), Ok(1)));
}

#[test]
fn a_full_channel_is_read_and_the_lock_is_sent_again() {
    let news = vec![record(event::CONTENDED, 1)];
    let full = Then(news, Box::new(Code(codes::ERROR_EVENTS_UNREAD)));
    let (group, _ending) = group([
        ("lock 1 [1]", Granted(granted(&[(1, 1)]))),
        ("lock 2 [2]", full),
        ("lock 2 [2]", Granted(granted(&[(2, 1)]))),
    ]);
    group.lock(&[ONE], None).unwrap();
    group.lock(&[TWO], None).unwrap();
    assert!(matches!(group.read_event(), Ok(Some(Event::Contended { lock: LockId(1), .. }))));
}

#[test]
fn locks_that_may_wait_read_the_channel_now_and_then() {
    // Locks that stay, each with a record.
    let names: Vec<String> = (1..=40).map(|number| format!("lock {number} [1]")).collect();
    let (group, _ending) = group(names.iter().zip(1..).map(|(name, number)| {
        let left = vec![record(event::CONTENDED, number)];
        (name.as_str(), Then(left, Box::new(Granted(granted(&[(1, 1)])))))
    }));
    for _ in &names {
        group.lock(&[ONE], None).unwrap();
    }
    let mut unread = 0;
    let mut byte = [0; 4096];
    while nix::unistd::read(group.as_fd().as_raw_fd(), &mut byte).is_ok() {
        unread += 1;
    }
    assert!(unread <= 16, "{unread}");
}

#[test]
fn an_old_eviction_is_one_even_if_the_service_has_forgotten_it() {
    let evicted = Then(vec![record(event::EVICTED, 1)], Box::new(Code(codes::ERROR_ENDED)));
    let (group, _ending) =
        group([("lock 1 []", Granted(granted(&[(1, 1)]))), ("unlock 1", evicted)]);
    let lock = group.lock(&[], None).unwrap();
    assert_eq!(group.unlock(lock, None), Err(EVICTED));
}

#[test]
fn threads_wait_for_a_lock_each_and_learn_of_its_end() {
    let three = (BufferId(3), Access::Read);
    let timed_out = Then(vec![record(event::TIMED_OUT, 2)], Box::new(Done));
    let (group, ending) = group([
        ("lock 1 [1]", Queued),
        ("lock 2 [2]", Queued),
        ("lock 3 [3]", Queued),
        ("remove [9]", timed_out),
        ("cancel 1", Done),
    ]);
    let wait_until = |left| {
        while ending.calls_left() > left {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    std::thread::scope(|scope| {
        // The first one polls, so the others hear from it.
        let first = scope.spawn(|| group.lock(&[ONE], None));
        wait_until(4);
        let second = scope.spawn(|| group.lock(&[TWO], None));
        wait_until(3);
        let third = scope.spawn(|| group.lock(&[three], None));
        wait_until(2);
        group.remove(BufferId(9)).unwrap();
        assert_eq!(second.join().unwrap(), Err(TIMED_OUT));
        group.cancel(LockId(1)).unwrap();
        assert_eq!(first.join().unwrap(), Err(Error::Cancelled));
        assert!(matches!(group.unlock(LockId(3), None), Err(Error::Busy(_))));
        assert_eq!(group.read_event(), Ok(None), "the threads that wait read the events");
        group.close().unwrap();
        assert_eq!(third.join().unwrap(), Err(Error::Closed));
    });
}

#[test]
fn a_call_that_reads_the_answer_of_a_waiting_thread_wakes_it() {
    // The request of another lock reads the channel, and with it the event of the first.
    let full = Then(vec![record(event::WOUNDED, 1)], Box::new(Code(codes::ERROR_EVENTS_UNREAD)));
    let (group, ending) = group([
        ("lock 1 [1]", Granted(granted(&[(1, 1)]))),
        ("grow 1 [2]", Queued),
        ("lock 2 [3]", full),
        ("lock 2 [3]", Code(codes::ERROR_QUOTA)),
    ]);
    let lock = group.lock(&[ONE], None).unwrap();
    std::thread::scope(|scope| {
        let growth = scope.spawn(|| group.grow(lock, &[TWO], None));
        while ending.calls_left() > 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let refused = group.lock(&[(BufferId(3), Access::Read)], None);
        assert_eq!(refused, Err(Error::Quota(scripted())));
        assert_eq!(growth.join().unwrap(), Err(Error::Deadlock));
    });
    assert!(group.granted(lock).is_ok());
}

#[test]
fn a_full_channel_is_read_and_the_fence_is_given_again() {
    // Nobody writes to the pipe, so the fence does not signal.
    let (fence, _writer) = nix::unistd::pipe().unwrap();
    let (group, ending) = group([
        ("lock 1 []", Granted(granted(&[(1, 1)]))),
        ("unlock 1 []", Code(codes::ERROR_EVENTS_UNREAD)),
        ("unlock 1 []", Done),
    ]);
    let lock = group.lock(&[], None).unwrap();
    assert_eq!(group.unlock(lock, fence), Ok(()));
    assert_eq!(ending.0.lock().unwrap().wrong, None);
}

#[test]
fn a_time_out_says_which_lock_is_in_the_way_and_whose_it_is() {
    let way = Record { value0: 7, value1: 3, ..record(event::TIMED_OUT, 1) };
    let (group, _ending) = group([("lock 1 []", Then(vec![way], Box::new(Queued)))]);
    let error = group.lock(&[], Duration::from_secs(9)).unwrap_err();
    let by = InTheWay { group: 7, lock: LockId(3), owner: Some("group 7".into()) };
    assert_eq!(error.in_the_way(), Some(&by));
}

#[test]
fn a_service_that_does_not_answer_ends_a_wait_and_hears_of_it() {
    let (group, ending) = group([("lock 1 []", Queued), ("unlock 1", Done)]);
    let silent = group.lock(&[], Duration::from_millis(1));
    assert_eq!(silent, Err(Error::TimedOut { by: None, silent: true }));
    assert_eq!(group.granted(LockId(1)), Err(Error::Ended));
    // The thread that ends the lock calls when it gets to it.
    while !ending.0.lock().unwrap().calls.is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_grant_whose_exchange_is_refused_ends_with_its_fence() {
    let (fence, _writer) = nix::unistd::pipe().unwrap();
    let (group, ending) = group([
        ("lock 1 []", Granted(granted(&[(1, 1)]))),
        ("unlock 1 lock 2 []", Code(codes::ERROR_QUOTA)),
        ("unlock 1 []", Done),
    ]);
    let lock = group.lock(&[], None).unwrap();
    let refused = group.unlock_and_lock_guarded(lock, fence, &[], None);
    assert_eq!(refused, Err(Error::Quota(scripted())));
    assert_eq!(ending.0.lock().unwrap().wrong, None);
}

#[test]
fn an_old_growth_does_not_answer_the_next_one() {
    // The service was stopped, and told the end of the first growth when it went on.
    let states = States(vec![state(1, false, &[(1, 1)])]);
    let (group, _ending) = group([
        ("lock 1 [1]", Granted(granted(&[(1, 1)]))),
        ("grow 1 [2]", Queued),
        ("locks", Then(vec![record(event::TIMED_OUT, 1)], Box::new(states))),
        ("grow 1 [3]", Queued),
    ]);
    let lock = group.lock(&[ONE], None).unwrap();
    let silent = group.grow(lock, &[TWO], Duration::from_millis(1));
    assert_eq!(silent, Err(Error::TimedOut { by: None, silent: true }));
    assert_eq!(group.start_grow(lock, &[(BufferId(3), Access::Read)], None), Ok(false));
    assert_eq!(group.is_granted(lock), Ok(false), "the growth of buffer 3 waits");
}

#[test]
fn an_old_growth_that_was_granted_is_the_grants() {
    let states = States(vec![state(1, false, &[(1, 1), (2, 1)])]);
    let (group, _ending) = group([
        ("lock 1 [1]", Granted(granted(&[(1, 1)]))),
        ("grow 1 [2]", Queued),
        ("locks", states),
        ("grow 1 [3]", Queued),
    ]);
    let lock = group.lock(&[ONE], None).unwrap();
    assert!(group.grow(lock, &[TWO], Duration::from_millis(1)).is_err());
    assert_eq!(group.start_grow(lock, &[(BufferId(3), Access::Read)], None), Ok(false));
    assert_eq!((buffers(&group, lock), group.is_granted(lock)), (Some(2), Ok(false)));
    assert!(group.check_held(lock, BufferId(3), Access::Read).is_err(), "it waits");
}

#[test]
fn a_growth_whose_end_was_read_is_not_granted() {
    let timed_out = Then(vec![record(event::TIMED_OUT, 1)], Box::new(Queued));
    let (group, _ending) =
        group([("lock 1 [1]", Granted(granted(&[(1, 1)]))), ("grow 1 [2]", timed_out)]);
    let lock = group.lock(&[ONE], None).unwrap();
    assert_eq!(group.start_grow(lock, &[TWO], None), Ok(false));
    assert!(matches!(group.read_event(), Ok(Some(Event::TimedOut { .. }))));
    for _ in 0..2 {
        assert_eq!(group.wait(lock), Err(TIMED_OUT));
        assert_eq!(group.is_granted(lock), Err(TIMED_OUT));
    }
    assert_eq!(buffers(&group, lock), Some(1), "the grant goes on");
}

#[test]
fn a_lock_whose_end_was_read_says_how_it_ended() {
    let timed_out = Then(vec![record(event::TIMED_OUT, 1)], Box::new(Queued));
    let (group, _ending) = group([("lock 1 [1]", timed_out)]);
    let (lock, _) = group.start_lock(&[ONE], None).unwrap();
    assert!(matches!(group.read_event(), Ok(Some(Event::TimedOut { .. }))));
    assert_eq!(group.wait(lock), Err(TIMED_OUT));
}
