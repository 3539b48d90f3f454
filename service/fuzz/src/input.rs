// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! An input: the steps of a client, one after the other.
//!
//! If the highest bit of a step's first byte is set, the step is an action: its number is in the other
//! bits, and a byte of argument follows. Otherwise it is a call:
//!
//! | bytes | contents |
//! |---|---|
//! | 1 | the object: 0 is the service, then the groups of this input |
//! | 1 | the transaction: see [`CODES`] |
//! | 1 | the header: see [`Header`] |
//! | 2 | length of the parcel's data behind the header, little-endian |
//! | n | the data |
//! | 1 | number of objects, up to 15; for each a byte for its position (in words of 4 bytes), one for its kind |
//! | 1 | number of [`Known`] values, up to 7; for each a byte for its position, one for its meaning |
//!
//! A step that is not complete ends the input. So any bytes are an input, and a valid call stays valid
//! when bytes of its arguments change. The recorder writes the same format.

use rsbinder::FIRST_CALL_TRANSACTION;

/// Transactions that are not methods, with numbers from 32 on: `getInterfaceVersion`,
/// `getInterfaceHash`, then those of libbinder's `IBinder.h`.
pub const CODES: [u32; 12] = [
    FIRST_CALL_TRANSACTION + 16_777_214,
    FIRST_CALL_TRANSACTION + 16_777_213,
    rsbinder::DUMP_TRANSACTION,
    rsbinder::INTERFACE_TRANSACTION,
    rsbinder::PING_TRANSACTION,
    rsbinder::EXTENSION_TRANSACTION,
    rsbinder::DEBUG_PID_TRANSACTION,
    rsbinder::START_RECORDING_TRANSACTION,
    rsbinder::STOP_RECORDING_TRANSACTION,
    rsbinder::SHELL_COMMAND_TRANSACTION,
    rsbinder::SYSPROPS_TRANSACTION,
    0,
];
/// More than either interface has.
const METHODS: u8 = 32;
/// Set in the first byte of an action.
const ACTION: u8 = 0x80;

/// The greatest length of an input, as libFuzzer is told.
pub const LONGEST: usize = 1024;

/// A value that only the run knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The number of a group's last lock.
    Lock,
    /// The id of a group's first buffer.
    FirstBuffer,
    /// The id of a group's second buffer.
    SecondBuffer,
    /// The number of another client's grant. Clients count their locks, so others can guess the numbers.
    StrangersLock,
    /// The number that follows a group's last one: a new lock.
    NextLock,
}

impl Known {
    const ALL: [Self; 5] =
        [Self::Lock, Self::FirstBuffer, Self::SecondBuffer, Self::StrangersLock, Self::NextLock];

    /// The value that a byte means, and its group.
    pub fn from(byte: u8) -> (Self, u8) {
        (Self::ALL[usize::from(byte >> 3) % Self::ALL.len()], byte & 7)
    }

    /// The byte that means this value of a group.
    pub fn of(self, group: usize) -> u8 {
        let place = Self::ALL.iter().position(|known| *known == self).unwrap_or(0);
        (place as u8) << 3 | (group as u8 & 7)
    }
}

/// A step of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It calls an object.
    Call(Call),
    /// It does something else: the action's number and argument.
    Act(u8, u8),
}

/// A call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// 0: the service; otherwise a group.
    pub target: u8,
    /// The transaction's number in an input.
    pub code: u8,
    /// The interface token before the data.
    pub header: Header,
    /// The arguments.
    pub data: Vec<u8>,
    /// Positions and kinds of descriptors and binders.
    pub objects: Vec<(usize, u8)>,
    /// Positions and meanings of [`Known`] values.
    pub numbers: Vec<(usize, u8)>,
}

/// The interface token at the beginning of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// The object's own.
    #[default]
    Own,
    /// Another interface's.
    Others,
    /// None.
    Missing,
}

impl Call {
    /// The transaction's code, as the driver delivers it.
    pub fn transaction(&self) -> u32 {
        match self.code {
            method if method < METHODS => FIRST_CALL_TRANSACTION + u32::from(method),
            other => CODES[usize::from(other - METHODS) % CODES.len()],
        }
    }

    /// The number of a transaction in an input.
    pub fn code_of(transaction: u32) -> Option<u8> {
        let method = transaction.checked_sub(FIRST_CALL_TRANSACTION)?;
        match u8::try_from(method) {
            Ok(method) if method < METHODS => Some(method),
            _ => {
                let known = CODES.iter().position(|code| *code == transaction)?;
                Some(METHODS + u8::try_from(known).ok()?)
            }
        }
    }
}

/// The steps of an input.
pub fn steps(bytes: &[u8]) -> impl Iterator<Item = Step> + '_ {
    let mut bytes = Bytes(bytes);
    std::iter::from_fn(move || bytes.step())
}

/// Writes the bytes of a step, as [`steps`] reads them.
pub fn write(step: &Step, out: &mut Vec<u8>) {
    let call = match step {
        Step::Act(action, argument) => return out.extend([ACTION | action, *argument]),
        Step::Call(call) => call,
    };
    let header = match call.header {
        Header::Own => 0,
        Header::Others => 6,
        Header::Missing => 7,
    };
    let length = u16::try_from(call.data.len()).unwrap_or(u16::MAX);
    out.extend([call.target & !ACTION, call.code, header]);
    out.extend(length.to_le_bytes());
    out.extend(&call.data[..usize::from(length)]);
    for (places, most) in [(&call.objects, 15), (&call.numbers, 7)] {
        let places = &places[..places.len().min(most)];
        out.push(places.len() as u8);
        for (at, what) in places {
            out.extend([u8::try_from(at / 4).unwrap_or(u8::MAX), *what]);
        }
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next bytes, or the rest if that is shorter.
    fn some(&mut self, length: usize) -> &'a [u8] {
        let (some, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        some
    }

    fn step(&mut self) -> Option<Step> {
        let first = self.byte()?;
        if first & ACTION != 0 {
            return Some(Step::Act(first & !ACTION, self.byte()?));
        }
        let code = self.byte()?;
        let header = match self.byte()? & 7 {
            6 => Header::Others,
            7 => Header::Missing,
            _ => Header::Own,
        };
        let length = u16::from_le_bytes([self.byte()?, self.byte()?]);
        let data = self.some(length.into()).to_vec();
        let objects = self.places(15);
        let numbers = self.places(7);
        Some(Step::Call(Call { target: first, code, header, data, objects, numbers }))
    }

    fn places(&mut self, most: u8) -> Vec<(usize, u8)> {
        let count = self.byte().unwrap_or(0) & most;
        let place = |pair: &[u8]| Some((usize::from(*pair.first()?) * 4, *pair.get(1)?));
        self.some(usize::from(count) * 2).chunks(2).filter_map(place).collect()
    }
}
