// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Violations: two conflicting grants of one buffer at one time, a former holder that a grant does not tell of,
//! content that is torn and not marked, a generation that goes backwards.
//!
//! All of it is decided by who finds it, from what can't be otherwise if the service is right. What is not certain is
//! no violation: both grants must be in force at one instant, which a deadline in the future, a process that has not
//! been killed and a service that has not been killed show.

use crate::header::Claim;

/// True when the service marks all buffers for one longest hold after its start, since it can't know who is at work.
/// Until it does, what was granted before a restart says nothing about a grant after it.
pub const MARKS_AFTER_A_RESTART: bool = true;

/// A grant of one buffer.
#[derive(Clone, Copy, Debug)]
pub struct Mine {
    pub claim: Claim,
    /// Its flags.
    pub evicted: bool,
    pub torn: bool,
}

/// Somebody else's claim that is there too, and what else is known.
#[derive(Clone, Copy, Debug)]
pub struct Theirs {
    pub claim: Claim,
    /// When its process was killed, if it was.
    pub killed_at: Option<u64>,
}

/// The state of the buffer and of the service at the time at which both claims were there.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub at: u64,
    /// The life of the service, and when it began.
    pub life: u64,
    pub life_began: u64,
    /// As in [`crate::header::Header`].
    pub clean: u64,
    pub clean_writer: u64,
    /// Somebody may have had the buffer whom nobody has seen.
    pub anybody_blind: bool,
}

/// A violation of the invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Both have it.
    TwoHolders,
    /// The other one was evicted or died, and the grant does not say so.
    NotToldOfEviction,
    /// The other one was evicted or died as a writer, and the grant does not say that the content is torn.
    NotToldOfTearing,
    /// The other one had it from the service before this one, and the grant does not say so.
    NotToldOfRestart,
}

/// True if the other claim has a right to be there.
pub fn judge(mine: &Mine, theirs: &Theirs, facts: &Facts) -> Option<Wrong> {
    let conflict = mine.claim.name.writes() || theirs.claim.name.writes();
    // Of a grant that is over there is nothing to be said.
    let in_force = mine.claim.life == facts.life && facts.at < mine.claim.end;
    if !conflict || !in_force {
        return None;
    }
    let end = theirs.killed_at.map_or(theirs.claim.end, |killed| theirs.claim.end.min(killed));
    let excused = |clean: u64, since: u64| facts.anybody_blind || clean > since;
    if theirs.claim.life != facts.life {
        let untold = MARKS_AFTER_A_RESTART
            && facts.at < end
            && !mine.evicted
            && !excused(facts.clean, facts.life_began);
        return untold.then_some(Wrong::NotToldOfRestart);
    }
    if facts.at < end {
        return Some(Wrong::TwoHolders);
    }
    // Its grant has ended with its unlock: its fence may signal late, but nobody died at work.
    if theirs.claim.name.is_fenced() {
        return None;
    }
    if !mine.evicted && !excused(facts.clean, end) {
        return Some(Wrong::NotToldOfEviction);
    }
    let tears = theirs.claim.name.writes() && !mine.torn;
    (tears && !excused(facts.clean_writer, end)).then_some(Wrong::NotToldOfTearing)
}

/// The generation that was seen before, in one word with the life of the service.
pub fn generation_word(life: u64, generation: i64) -> u64 {
    life << 40 | u64::try_from(generation).unwrap_or(0)
}

/// True if a grant's generation is one that can follow what was seen before the grant was asked for.
pub fn follows(before: u64, life: u64, generation: i64, exclusive: bool) -> bool {
    before >> 40 != life || generation_word(life, generation) >= before + u64::from(exclusive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Name;

    fn claim(actor: usize, writes: bool, end: u64, life: u64) -> Claim {
        Claim { name: Name::new(actor, 7, writes), end, life }
    }

    const FACTS: Facts = Facts {
        at: 1000,
        life: 4,
        life_began: 10,
        clean: 0,
        clean_writer: 0,
        anybody_blind: false,
    };

    fn mine(writes: bool) -> Mine {
        Mine { claim: claim(1, writes, 2000, 4), evicted: false, torn: false }
    }

    fn theirs(writes: bool, end: u64) -> Theirs {
        Theirs { claim: claim(2, writes, end, 4), killed_at: None }
    }

    #[test]
    fn two_grants_in_force_conflict_unless_both_read() {
        let wrong = |one, other| judge(&mine(one), &theirs(other, 1001), &FACTS);
        assert_eq!(wrong(true, true), Some(Wrong::TwoHolders));
        assert_eq!(wrong(false, true), Some(Wrong::TwoHolders));
        assert_eq!(wrong(true, false), Some(Wrong::TwoHolders));
        assert_eq!(wrong(false, false), None);
    }

    #[test]
    fn who_was_evicted_or_killed_is_no_holder_but_must_be_told_of() {
        let told = Mine { evicted: true, torn: true, ..mine(true) };
        let dead = Theirs { killed_at: Some(990), ..theirs(true, 5000) };
        for gone in [theirs(true, 999), dead] {
            assert_eq!(judge(&mine(true), &gone, &FACTS), Some(Wrong::NotToldOfEviction));
            assert_eq!(judge(&told, &gone, &FACTS), None);
            let half = Mine { torn: false, ..told };
            assert_eq!(judge(&half, &gone, &FACTS), Some(Wrong::NotToldOfTearing));
            // Somebody has had it since, and has unlocked.
            let cleaned = Facts { clean: 1001, clean_writer: 1001, ..FACTS };
            assert_eq!(judge(&mine(true), &gone, &cleaned), None);
            let blind = Facts { anybody_blind: true, ..FACTS };
            assert_eq!(judge(&mine(true), &gone, &blind), None);
        }
        let reader = theirs(false, 999);
        assert_eq!(judge(&Mine { torn: false, ..told }, &reader, &FACTS), None);
    }

    #[test]
    fn who_is_over_himself_and_who_is_of_another_life_says_nothing() {
        let over = Mine { claim: claim(1, true, 1000, 4), ..mine(true) };
        assert_eq!(judge(&over, &theirs(true, 5000), &FACTS), None);
        let before = Theirs { claim: claim(2, true, 5000, 2), killed_at: None };
        let untold = MARKS_AFTER_A_RESTART.then_some(Wrong::NotToldOfRestart);
        assert_eq!(judge(&mine(true), &before, &FACTS), untold);
        let restarted = Facts { life: 6, ..FACTS };
        assert_eq!(judge(&mine(true), &theirs(true, 5000), &restarted), None);
    }

    #[test]
    fn a_fence_holds_the_buffer_until_its_end_and_is_no_eviction_by_itself() {
        let fenced = |end| {
            let mut theirs = theirs(true, end);
            theirs.claim.name = theirs.claim.name.fenced();
            theirs
        };
        assert_eq!(judge(&mine(true), &fenced(5000), &FACTS), Some(Wrong::TwoHolders));
        assert_eq!(judge(&mine(true), &fenced(999), &FACTS), None);
    }

    #[test]
    fn generations_grow_within_a_life() {
        let before = generation_word(4, 10);
        assert!(follows(before, 4, 10, false) && follows(before, 4, 11, true));
        assert!(!follows(before, 4, 10, true) && !follows(before, 4, 9, false));
        assert!(follows(before, 6, 1, true), "another life");
    }
}
