// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Refusals in the books: which errors a call may have, by the AIDL and by what was told before.

use buffersync_engine::{Access, BufferId, Wait};
use buffersync_service::arbiter::simulated::Error;

use crate::books::{conflicts, At, Books, Checked};

/// A call, as far as it decides what may refuse it.
#[derive(Clone, Debug)]
pub enum Call {
    Open {
        uid: u32,
    },
    Add {
        access: Access,
        buffers: Vec<BufferId>,
        new: usize,
        any: bool,
    },
    Remove {
        buffers: Vec<BufferId>,
    },
    /// `done` is the grant that ends first.
    Lock {
        token: u64,
        asked: Asked,
        done: Option<Done>,
    },
    Grow {
        token: u64,
        asked: Asked,
    },
    Cancel {
        token: u64,
    },
    Unlock {
        token: u64,
    },
    UnlockPart {
        done: Done,
        part: Vec<BufferId>,
    },
    Downgrade {
        token: u64,
        part: Vec<BufferId>,
    },
    Acquire {
        token: u64,
        buffer: Option<BufferId>,
    },
    Other,
}

#[derive(Clone, Debug)]
pub struct Asked {
    /// As they are named; all if none is.
    pub named: Vec<BufferId>,
    /// Each buffer once; `None` if one is asked for by CPU and device.
    pub joined: Option<Vec<(BufferId, Access)>>,
    pub wait: Wait,
}

/// The end of a grant, with fences.
#[derive(Clone, Debug)]
pub struct Done {
    pub token: u64,
    /// The buffers that fences name.
    pub named: Vec<BufferId>,
    pub fences: usize,
    /// A descriptor is no sync_file; a sync_file has too many fences.
    pub bad: bool,
    pub large: bool,
}

/// Reasons why calls fail that have nothing wrong with them.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    /// System calls fail, or descriptors are few.
    pub short: bool,
    /// Another thread may have made a call meanwhile.
    pub crowded: bool,
}

/// The limits that the settings give.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    pub groups: usize,
    pub buffers: usize,
    pub buffers_of_uid: usize,
    pub locks: usize,
    pub queued: usize,
    pub fences: usize,
}

impl Books {
    fn unknown(&self, at: At, named: &[BufferId]) -> bool {
        named.iter().any(|buffer| self.groups[at].member(*buffer).is_none())
    }

    /// The error of a lock that does not live, if there is one.
    fn dead(&self, at: At, token: u64) -> Option<Error> {
        let group = &self.groups[at];
        match token {
            _ if group.lock(token).is_some() => None,
            _ if group.evicted.contains(&token) => Some(Error::Evicted),
            _ if token == 0 || token > group.last => Some(Error::BadLock(group.last)),
            _ => Some(Error::Ended),
        }
    }

    /// True if a lock is not granted, or grows.
    fn is_busy(&self, at: At, token: u64, if_it_grows: bool) -> bool {
        self.groups[at]
            .lock(token)
            .is_some_and(|lock| lock.held.is_none() || if_it_grows && lock.waits.is_some())
    }

    fn holds_all(&self, at: At, token: u64, named: &[BufferId]) -> bool {
        let held = self.groups[at].lock(token).and_then(|lock| lock.held.as_ref());
        held.is_some_and(|held| {
            named.iter().all(|buffer| held.parts.iter().any(|part| part.buffer == *buffer))
        })
    }

    /// True if the request conflicts with another lock of the group than `but`.
    fn conflicts_inside(&self, at: At, asked: &Asked, but: u64) -> bool {
        let others = self.groups[at].locks.iter().filter(|lock| lock.token != but);
        let mut wants = others.flat_map(|lock| &lock.wants);
        wants.any(|(buffer, want)| {
            let joined = asked.joined.iter().flatten();
            joined.filter(|(other, _)| other == buffer).any(|(_, access)| conflicts(*access, *want))
        })
    }

    fn lacks_nothing(&self, at: At, token: u64, asked: &Asked) -> bool {
        let Some(lock) = self.groups[at].lock(token) else { return false };
        asked.joined.iter().flatten().all(|(buffer, access)| {
            lock.wants
                .iter()
                .any(|(has, with)| has == buffer && (*with == *access || with.is_exclusive()))
        })
    }

    pub fn of_uid(&self, uid: u32) -> impl Iterator<Item = &crate::books::Group> {
        self.groups.iter().filter(move |group| group.open && group.uid == uid)
    }

    /// Checks a refusal.
    pub fn refused(
        &self,
        at: Option<At>,
        call: &Call,
        error: &Error,
        most: &Most,
        trouble: Trouble,
    ) -> Checked {
        let (at, closed) = (at.unwrap_or(0), at.is_some_and(|at| !self.groups[at].open));
        if closed {
            let early =
                matches!(error, Error::NotDmaBuf(_) | Error::NoResources(_) | Error::BadFence(_));
            let fine = *error == Error::Closed
                || early
                || matches!(error, Error::Quota(..))
                    && matches!(call, Call::UnlockPart { .. } | Call::Lock { .. });
            return fine
                .then_some(())
                .ok_or_else(|| format!("{call:?} of a closed group: {error:?}"));
        }
        let dead = |token: &u64| self.dead(at, *token).as_ref() == Some(error);
        let uid = || self.groups[at].uid;
        let fine = match (error, call) {
            (Error::Closed | Error::Unsupported(_), _) => false,
            (
                Error::NoResources(_),
                Call::Open { .. } | Call::Add { .. } | Call::Acquire { .. },
            ) => trouble.short || trouble.crowded,
            (Error::NoResources(_), Call::UnlockPart { .. } | Call::Lock { done: Some(_), .. }) => {
                trouble.short || trouble.crowded
            }
            (Error::NotDmaBuf(_), Call::Add { any, .. }) => !any || trouble.short,
            (Error::AccessConflict(_), Call::Add { access, buffers, .. }) => {
                buffers.iter().any(|buffer| {
                    self.groups[at]
                        .member(*buffer)
                        .is_some_and(|has| has.is_dma() != access.is_dma())
                })
            }
            (Error::Quota(..), Call::Open { uid }) => {
                self.of_uid(*uid).count() >= most.groups || trouble.short
            }
            (Error::Quota(..), Call::Add { new, .. }) => {
                let all: usize = self.of_uid(uid()).map(|group| group.members.len()).sum();
                self.groups[at].members.len() + new > most.buffers
                    || all + new > most.buffers_of_uid
                    || trouble.short
            }
            (Error::Busy(_), Call::Remove { buffers }) => {
                let wanted = self.groups[at].locks.iter().flat_map(|lock| &lock.wants);
                let mut wanted = wanted.map(|(buffer, _)| buffer);
                buffers.is_empty() && !self.groups[at].locks.is_empty()
                    || wanted.any(|buffer| buffers.contains(buffer))
            }
            (Error::UnknownBuffer(_), Call::Remove { buffers }) => self.unknown(at, buffers),
            (Error::BadLock(_), Call::Lock { token, .. }) if *token <= self.groups[at].last => true,
            (
                Error::Evicted | Error::Ended | Error::BadLock(_),
                Call::Lock { done: Some(done), .. } | Call::UnlockPart { done, .. },
            ) => dead(&done.token),
            (
                Error::Evicted | Error::Ended | Error::BadLock(_),
                Call::Grow { token, .. }
                | Call::Cancel { token }
                | Call::Unlock { token }
                | Call::Downgrade { token, .. }
                | Call::Acquire { token, .. },
            ) => dead(token),
            (Error::Busy(_), Call::Lock { done: Some(done), .. }) => {
                self.is_busy(at, done.token, false)
            }
            (Error::Busy(_), Call::UnlockPart { done, part }) => {
                self.is_busy(at, done.token, !part.is_empty())
            }
            (Error::Busy(_), Call::Downgrade { token, .. }) => self.is_busy(at, *token, true),
            (Error::Busy(_), Call::Acquire { token, .. }) => self.is_busy(at, *token, false),
            (Error::Busy(_), Call::Grow { token, .. }) => {
                self.groups[at].lock(*token).is_some_and(|lock| lock.waits.is_some())
            }
            (Error::NotQueued, Call::Cancel { token }) => {
                self.groups[at].lock(*token).is_some_and(|lock| lock.waits.is_none())
            }
            (Error::EmptyGroup, Call::Lock { .. } | Call::Grow { .. }) => {
                self.groups[at].members.is_empty()
            }
            (
                Error::BadFence(_),
                Call::Lock { done: Some(done), .. } | Call::UnlockPart { done, .. },
            ) => done.bad || trouble.short,
            (Error::UnknownBuffer(_), Call::UnlockPart { done, part }) => {
                !self.holds_all(at, done.token, part)
                    || !self.holds_all(at, done.token, &done.named)
                    || !part.is_empty() && done.named.iter().any(|buffer| !part.contains(buffer))
            }
            (Error::UnknownBuffer(_), Call::Lock { asked, done, .. }) => {
                self.unknown(at, &asked.named)
                    || done
                        .as_ref()
                        .is_some_and(|done| !self.holds_all(at, done.token, &done.named))
            }
            (Error::UnknownBuffer(_), Call::Grow { asked, .. }) => self.unknown(at, &asked.named),
            (Error::UnknownBuffer(_), Call::Downgrade { token, part }) => {
                !self.holds_all(at, *token, part)
            }
            (Error::UnknownBuffer(_), Call::Acquire { token, buffer }) => {
                buffer.is_some_and(|buffer| !self.holds_all(at, *token, &[buffer]))
            }
            (Error::AccessConflict(_), Call::Lock { asked, .. } | Call::Grow { asked, .. }) => {
                asked.joined.is_none()
            }
            (Error::AlreadyLocked(_), Call::Lock { asked, done, .. }) => {
                self.conflicts_inside(at, asked, done.as_ref().map_or(0, |done| done.token))
            }
            (Error::AlreadyLocked(_), Call::Grow { asked, token }) => {
                self.lacks_nothing(at, *token, asked) || self.conflicts_inside(at, asked, *token)
            }
            (Error::WouldBlock(_), Call::Lock { asked, .. } | Call::Grow { asked, .. }) => {
                asked.wait == Wait::Never
            }
            (Error::Deadlock, Call::Grow { .. }) => true,
            (Error::Quota(..), Call::Lock { done, .. }) => {
                let large = done.as_ref().is_some_and(|done| {
                    done.large
                        || done.fences > 0 && self.fences_full(at, done.fences, most)
                        || trouble.short && done.fences > 0
                });
                large || self.locks_full(at, most, done.as_ref().map(|done| done.token))
            }
            (Error::Quota(..), Call::Grow { token, .. }) => self.locks_full(at, most, Some(*token)),
            (Error::Quota(..), Call::UnlockPart { done, .. }) => {
                done.large || self.fences_full(at, done.fences, most) || trouble.short
            }
            (
                Error::EventsUnread,
                Call::Lock { .. } | Call::Grow { .. } | Call::UnlockPart { .. },
            ) => self.of_uid(self.groups[at].uid).any(|group| group.sent > group.read),
            _ => false,
        };
        fine.then_some(()).ok_or_else(|| format!("group {at}: {call:?} is refused with {error:?}"))
    }

    /// True if a group, or its uid, has all the locks that it may have besides one that ends or grows.
    fn locks_full(&self, at: At, most: &Most, but: Option<u64>) -> bool {
        let uid = self.groups[at].uid;
        let ends = self.groups[at].locks.iter().find(|lock| Some(lock.token) == but);
        let locks = self.groups[at].locks.len() - usize::from(ends.is_some());
        let waiting = self.of_uid(uid).flat_map(|group| &group.locks);
        let waiting = waiting.filter(|lock| lock.waits.is_some()).count();
        let waiting = waiting - usize::from(ends.is_some_and(|lock| lock.waits.is_some()));
        locks >= most.locks || waiting >= most.queued
    }

    /// The service counts a fence until nobody keeps it, which nobody is told. So this is only the least that it takes.
    fn fences_full(&self, _at: At, more: usize, most: &Most) -> bool {
        more > 0
            && (self.kept_fences + more >= most.fences || self.fences.len() + more >= most.fences)
    }
}
