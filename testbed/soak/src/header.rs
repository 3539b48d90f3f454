// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The two pages of a shared buffer: in the first one its users say what they have been granted, the second one is
//! the content.
//!
//! A user puts a [`Claim`] into a slot of its own when it knows of its grant, looks at the other slots, and takes its
//! claim away *before* it unlocks. So if the service is right, two claims that conflict can be seen together only if
//! the grant of one of them was taken away, and then its claim says since when: its end has passed, or its process
//! has been killed.
//!
//! | word | what |
//! |---|---|
//! | [`Header::clean`] | the latest beginning of a grant that ended in order, or is about to |
//! | [`Header::clean_writer`] | the same of exclusive ones |
//! | [`Header::taint`] | 1: somebody may have written after his grant was taken away |
//! | [`Header::generation`] | the greatest that was seen, and the life of the service in which it was |
//! | [`Header::filled`] | the life of the service in which a writer has filled the content last |
//! | slots | two for each actor: what it uses, and what its device still uses after an unlock with a fence |

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use nix::sys::mman::{mmap, MapFlags, ProtFlags};

use crate::control::ACTORS;

pub const PAGE: usize = 4096;
/// Size of a shared buffer.
pub const SIZE: usize = 2 * PAGE;
const WORDS: usize = SIZE / 8;
const CONTENT: usize = PAGE / 8;
const FIRST_SLOT: usize = 16;
const SLOT_WORDS: usize = 4;
/// Two for each actor.
pub const SLOTS: usize = 2 * ACTORS;

const READS: u64 = 1;
const WRITES: u64 = 2;
const MODE: u64 = READS | WRITES;
/// Its grant has ended, with a release fence that is pending.
const FENCED: u64 = 4;

/// The name of a claim: a number that no other has, and how its buffer is used. 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name(u64);

impl Name {
    /// Of an actor's claim with this number.
    pub fn new(actor: usize, number: u64, writes: bool) -> Self {
        Self(number << 16 | (actor as u64) << 8 | if writes { WRITES } else { READS })
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    pub fn writes(self) -> bool {
        self.0 & WRITES != 0
    }

    pub fn is_fenced(self) -> bool {
        self.0 & FENCED != 0
    }

    /// The same claim with another use.
    pub fn with(self, writes: bool) -> Self {
        Self(self.0 & !MODE | if writes { WRITES } else { READS })
    }

    /// The same claim when its grant has ended.
    pub fn fenced(self) -> Self {
        Self(self.0 | FENCED)
    }

    /// A writer fills the content with this word, the same for all uses of its claim.
    pub fn tag(self) -> u64 {
        self.0 & !0xff
    }
}

/// A grant that somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub name: Name,
    /// The deadline of its grant; before it only an unlock or a death can end it.
    pub end: u64,
    /// The life of the service that granted it.
    pub life: u64,
}

/// A mapped buffer.
pub struct Header {
    words: NonNull<AtomicU64>,
}

// SAFETY: the memory is only used through atomics.
unsafe impl Send for Header {}
// SAFETY: as above.
unsafe impl Sync for Header {}

impl Header {
    /// Maps a buffer for as long as the process lives.
    pub fn map(fd: impl std::os::fd::AsFd) -> std::io::Result<Self> {
        let size = std::num::NonZeroUsize::new(SIZE).ok_or(std::io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no other memory.
        let start = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, fd, 0) }?;
        Ok(Self { words: start.cast() })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < WORDS, "word {at} is beyond the end");
        // SAFETY: it is within the mapping, which is never unmapped; zero is a valid value, and all accesses are
        // atomic.
        unsafe { &*self.words.as_ptr().add(at) }
    }

    pub fn clean(&self) -> &AtomicU64 {
        self.word(0)
    }

    pub fn clean_writer(&self) -> &AtomicU64 {
        self.word(1)
    }

    pub fn taint(&self) -> &AtomicU64 {
        self.word(2)
    }

    pub fn generation(&self) -> &AtomicU64 {
        self.word(3)
    }

    pub fn filled(&self) -> &AtomicU64 {
        self.word(4)
    }

    fn slot(&self, slot: usize, word: usize) -> &AtomicU64 {
        assert!(slot < SLOTS, "there is no slot {slot}");
        self.word(FIRST_SLOT + slot * SLOT_WORDS + word)
    }

    /// Puts a claim into a slot that has none.
    pub fn claim(&self, slot: usize, claim: Claim) {
        self.slot(slot, 1).store(claim.end, SeqCst);
        self.slot(slot, 2).store(claim.life, SeqCst);
        self.slot(slot, 0).store(claim.name.0, SeqCst);
    }

    /// The name in a slot.
    pub fn name(&self, slot: usize) -> Name {
        Name(self.slot(slot, 0).load(SeqCst))
    }

    /// Gives the claim of a slot another use.
    pub fn rename(&self, slot: usize, name: Name) {
        self.slot(slot, 0).store(name.0, SeqCst);
    }

    /// Takes the claim of a slot away.
    pub fn clear(&self, slot: usize) {
        self.slot(slot, 0).store(0, SeqCst);
    }

    /// Takes this claim away, if it is still there.
    pub fn clear_this(&self, slot: usize, name: Name) {
        let _ = self.slot(slot, 0).compare_exchange(name.0, 0, SeqCst, SeqCst);
    }

    /// The claim of a slot, and a time at which it was there. `None` if there is none, or if it changes.
    pub fn look(&self, slot: usize, now: impl Fn() -> u64) -> Option<(Claim, u64)> {
        let name = self.name(slot);
        let claim = Claim {
            name,
            end: self.slot(slot, 1).load(SeqCst),
            life: self.slot(slot, 2).load(SeqCst),
        };
        let at = now();
        (!name.is_none() && self.name(slot) == name).then_some((claim, at))
    }

    /// 1: the slot's actor has asked for a lock of which it may not know that it was granted and ended.
    pub fn blind(&self, slot: usize) -> &AtomicU64 {
        self.slot(slot, 3)
    }

    /// True if somebody may have had the buffer whom nobody has seen.
    pub fn anybody_blind(&self) -> bool {
        (0..SLOTS).any(|slot| self.blind(slot).load(SeqCst) != 0)
    }

    /// Writes one word into the content, from its beginning or from its middle to the middle or to its end.
    pub fn fill_half(&self, tag: u64, second: bool) {
        let half = CONTENT / 2 * usize::from(second);
        for word in half..half + CONTENT / 2 {
            self.word(PAGE / 8 + word).store(tag, SeqCst);
        }
    }

    /// The first two words of the content that differ, if it is not whole.
    pub fn torn(&self) -> Option<(u64, u64)> {
        let word = |at: usize| self.word(PAGE / 8 + at).load(SeqCst);
        let first = word(0);
        (1..CONTENT).map(word).find(|other| *other != first).map(|other| (first, other))
    }
}
