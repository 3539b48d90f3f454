// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The driver's commands to a client process, and its answers: lines of words. A line has several commands, which
//! are carried out up to the first that finds something wrong; the answer has as many replies. Descriptors go over a
//! socket beside it, in the order of the commands that name them.

use std::fmt;

use buffersync_client::Access;

/// A buffer and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    pub buffer: usize,
    pub access: Access,
}

/// Words that a CPU or a device writes: which and what follows from the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writing {
    pub buffer: usize,
    /// No other writing has it.
    pub stamp: u64,
    /// How many words; 0: all.
    pub words: usize,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Open a group with this hold limit in milliseconds; 0: the service's own.
    Open(u64),
    Close,
    /// For the CPU's reading; locks name other accesses.
    Add(usize),
    Remove(usize),
    Lock(Vec<Want>),
    /// Is the lock granted?
    Poll,
    Cancel,
    /// Compare every byte with what it must be.
    Check(usize),
    Write(Writing),
    /// Send the acquire fence of a buffer, if there is one.
    Acquire(usize),
    /// End the grant, with a fence that was sent or without.
    Unlock(bool),
    /// End the grant for one buffer.
    Part(usize),
    Grow(Want),
    Downgrade(usize),
    /// End the grant, with a fence or without, and lock others.
    Exchange(bool, Vec<Want>),
}

/// Marks of a buffer in a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    pub buffer: usize,
    pub torn: bool,
    pub fenced: bool,
}

/// A word that is not what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub word: usize,
    pub saw: u64,
    pub want: u64,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Done,
    Queued,
    /// The deadline in nanoseconds of CLOCK_MONOTONIC; 0 for none.
    Granted(u64, Vec<Marks>),
    Wrong(Wrong),
    /// A descriptor was sent, or there is none.
    Fence(bool),
    Evicted,
    /// It was not to be had, and the client's grant is as it was, or has ended as the command says.
    Refused,
    /// A command before it has found something wrong.
    Skipped,
    /// An answer that no client should get.
    Error(String),
}

const ACCESSES: [(Access, &str); 4] =
    [(Access::Read, "R"), (Access::Write, "W"), (Access::DmaRead, "DR"), (Access::DmaWrite, "DW")];

/// As in the histories that are printed.
pub fn name(access: Access) -> &'static str {
    ACCESSES.iter().find(|(of, _)| *of == access).map_or("?", |(_, name)| name)
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.buffer, name(self.access))
    }
}

fn list(wants: &[Want]) -> String {
    wants.iter().map(|want| format!(" {want}")).collect()
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(limit) => write!(f, "open {limit}"),
            Self::Close => f.write_str("close"),
            Self::Add(buffer) => write!(f, "add {buffer}"),
            Self::Remove(buffer) => write!(f, "remove {buffer}"),
            Self::Lock(wants) => write!(f, "lock{}", list(wants)),
            Self::Poll => f.write_str("poll"),
            Self::Cancel => f.write_str("cancel"),
            Self::Check(buffer) => write!(f, "check {buffer}"),
            Self::Write(Writing { buffer, stamp, words }) => {
                write!(f, "write {buffer} {stamp} {words}")
            }
            Self::Acquire(buffer) => write!(f, "acquire {buffer}"),
            Self::Unlock(fence) => write!(f, "unlock {}", u8::from(*fence)),
            Self::Part(buffer) => write!(f, "part {buffer}"),
            Self::Grow(want) => write!(f, "grow {want}"),
            Self::Downgrade(buffer) => write!(f, "downgrade {buffer}"),
            Self::Exchange(fence, wants) => {
                write!(f, "exchange {}{}", u8::from(*fence), list(wants))
            }
        }
    }
}

fn want(word: &str) -> Option<Want> {
    let (buffer, access) = word.split_once(':')?;
    let (access, _) = ACCESSES.iter().find(|(_, name)| *name == access)?;
    Some(Want { buffer: buffer.parse().ok()?, access: *access })
}

impl Command {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let verb = words.next()?;
        let rest: Vec<&str> = words.collect();
        let number = |at: usize| rest.get(at)?.parse::<u64>().ok();
        let buffer = || usize::try_from(number(0)?).ok();
        let wants =
            |from: usize| rest.get(from..)?.iter().map(|word| want(word)).collect::<Option<_>>();
        Some(match verb {
            "open" => Self::Open(number(0)?),
            "close" => Self::Close,
            "add" => Self::Add(buffer()?),
            "remove" => Self::Remove(buffer()?),
            "lock" => Self::Lock(wants(0)?),
            "poll" => Self::Poll,
            "cancel" => Self::Cancel,
            "check" => Self::Check(buffer()?),
            "write" => {
                let (stamp, words) = (number(1)?, usize::try_from(number(2)?).ok()?);
                Self::Write(Writing { buffer: buffer()?, stamp, words })
            }
            "acquire" => Self::Acquire(buffer()?),
            "unlock" => Self::Unlock(number(0)? != 0),
            "part" => Self::Part(buffer()?),
            "grow" => Self::Grow(want(rest.first()?)?),
            "downgrade" => Self::Downgrade(buffer()?),
            "exchange" => Self::Exchange(number(0)? != 0, wants(1)?),
            _ => return None,
        })
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Queued => f.write_str("queued"),
            Self::Granted(deadline, marks) => {
                write!(f, "granted {deadline}")?;
                marks.iter().try_for_each(|Marks { buffer, torn, fenced }| {
                    write!(f, " {buffer} {} {}", u8::from(*torn), u8::from(*fenced))
                })
            }
            Self::Wrong(Wrong { word, saw, want }) => write!(f, "wrong {word} {saw} {want}"),
            Self::Fence(there) => write!(f, "fence {}", u8::from(*there)),
            Self::Evicted => f.write_str("evicted"),
            Self::Refused => f.write_str("refused"),
            Self::Skipped => f.write_str("skipped"),
            Self::Error(why) => write!(f, "error {}", why.replace([';', '\n'], ",")),
        }
    }
}

impl Reply {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        let (verb, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if verb == "error" {
            return Some(Self::Error(rest.to_string()));
        }
        let numbers: Option<Vec<u64>> =
            rest.split_whitespace().map(|word| word.parse().ok()).collect();
        let numbers = numbers?;
        let size = |number: u64| usize::try_from(number).ok();
        Some(match (verb, &numbers[..]) {
            ("done", []) => Self::Done,
            ("queued", []) => Self::Queued,
            ("granted", [deadline, marks @ ..]) if marks.len() % 3 == 0 => {
                let marks = marks.chunks(3).map(|of| {
                    Some(Marks { buffer: size(of[0])?, torn: of[1] != 0, fenced: of[2] != 0 })
                });
                Self::Granted(*deadline, marks.collect::<Option<_>>()?)
            }
            ("wrong", &[word, saw, want]) => Self::Wrong(Wrong { word: size(word)?, saw, want }),
            ("fence", [there]) => Self::Fence(*there != 0),
            ("evicted", []) => Self::Evicted,
            ("refused", []) => Self::Refused,
            ("skipped", []) => Self::Skipped,
            _ => return None,
        })
    }
}

/// Several commands or replies in a line.
pub fn line<T: fmt::Display>(of: &[T]) -> String {
    of.iter().map(T::to_string).collect::<Vec<_>>().join(";")
}

impl Writing {
    /// The words that it writes in a buffer of so many, and their values. No value comes twice in a run, and two
    /// values differ in every byte almost always.
    pub fn values(self, of: usize) -> impl Iterator<Item = (usize, u64)> {
        let Self { stamp, words, .. } = self;
        let count = if words == 0 { of } else { words };
        (0..count).map(move |nth| {
            let value = mix(stamp << 16 | nth as u64);
            let at = if words == 0 { nth } else { (mix(value) % of as u64) as usize };
            (at, value)
        })
    }
}

/// A permutation of the numbers of 64 bits (splitmix64).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_they_were_written() {
        let wants = vec![
            Want { buffer: 0, access: Access::Read },
            Want { buffer: 3, access: Access::DmaWrite },
        ];
        for command in [
            Command::Open(500),
            Command::Close,
            Command::Add(1),
            Command::Remove(2),
            Command::Lock(wants.clone()),
            Command::Poll,
            Command::Cancel,
            Command::Check(4),
            Command::Write(Writing { buffer: 1, stamp: 77, words: 5 }),
            Command::Acquire(2),
            Command::Unlock(true),
            Command::Part(0),
            Command::Grow(wants[0]),
            Command::Downgrade(1),
            Command::Exchange(false, wants.clone()),
        ] {
            assert_eq!(Command::parse(&command.to_string()), Some(command));
        }
        assert_eq!(Command::parse("lock 1"), None);
        assert_eq!(Command::parse("write 1"), None);
    }

    #[test]
    fn replies_are_read_as_they_were_written() {
        let marks = vec![
            Marks { buffer: 2, torn: true, fenced: false },
            Marks { buffer: 0, torn: false, fenced: true },
        ];
        for reply in [
            Reply::Done,
            Reply::Queued,
            Reply::Granted(9, marks),
            Reply::Wrong(Wrong { word: 3, saw: 4, want: u64::MAX }),
            Reply::Fence(true),
            Reply::Evicted,
            Reply::Refused,
            Reply::Skipped,
            Reply::Error("a b".into()),
        ] {
            assert_eq!(Reply::parse(&reply.to_string()), Some(reply));
        }
        assert_eq!(Reply::Error("a;b\nc".into()).to_string(), "error a,b,c");
        assert_eq!(Reply::parse("granted 1 2"), None);
    }

    #[test]
    fn a_writing_is_the_same_each_time_and_like_no_other() {
        let one = Writing { buffer: 0, stamp: 1, words: 0 };
        let words: Vec<_> = one.values(1024).collect();
        assert_eq!(words, one.values(1024).collect::<Vec<_>>());
        assert!(words.iter().enumerate().all(|(at, (word, _))| at == *word));
        let other = Writing { stamp: 2, words: 64, ..one };
        let others: Vec<_> = other.values(1024).collect();
        assert!(others.len() == 64 && others.iter().all(|(word, _)| *word < 1024));
        assert!(others.iter().all(|(_, value)| words.iter().all(|(_, mine)| mine != value)));
    }
}
