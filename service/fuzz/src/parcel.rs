// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A parcel as the driver delivers it: bytes, and the positions of objects in them.

use std::os::fd::RawFd;

use rsbinder::{Parcel, SIBinder, StatusCode, INTERFACE_HEADER};

/// `struct flat_binder_object` of linux/android/binder.h: type, flags, handle or pointer, cookie.
pub const OBJECT_BYTES: usize = 24;
/// `BINDER_TYPE_FD`.
pub const TYPE_FD: u32 = object_type(b"fd*");
/// `BINDER_TYPE_BINDER`, `_WEAK_BINDER`, `_HANDLE`, `_WEAK_HANDLE`, `_FDA`, `_PTR`.
pub const OTHER_TYPES: [u32; 6] = [
    object_type(b"sb*"),
    object_type(b"wb*"),
    object_type(b"sh*"),
    object_type(b"wh*"),
    object_type(b"fda"),
    object_type(b"pt*"),
];

/// `B_PACK_CHARS(a, b, c, B_TYPE_LARGE)`.
const fn object_type(name: &[u8; 3]) -> u32 {
    u32::from_be_bytes([name[0], name[1], name[2], 0x85])
}

/// The data of a transaction.
#[derive(Debug, Default)]
pub struct Request {
    data: Vec<u8>,
    objects: Vec<u64>,
    header: usize,
}

impl Request {
    /// Makes a request with the interface token of `interface`, or without one if that is empty.
    pub fn new(interface: &str, arguments: &[u8]) -> Self {
        let mut data = Vec::with_capacity(256);
        if !interface.is_empty() {
            // Strict-mode policy, work source, "SYST"; then a String16 with its NUL.
            data.extend([0; 4]);
            data.extend((-1_i32).to_le_bytes());
            data.extend(INTERFACE_HEADER.to_le_bytes());
            data.extend((interface.len() as u32).to_le_bytes());
            data.extend(interface.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
            data.resize(data.len().next_multiple_of(4), 0);
        }
        let header = data.len();
        data.extend(arguments);
        Self { data, objects: Vec::new(), header }
    }

    /// Writes a number into the arguments, if it fits.
    pub fn number(&mut self, at: usize, number: i64) {
        if let Some(place) = self.data.get_mut(self.header + at..self.header + at + 8) {
            place.copy_from_slice(&number.to_le_bytes());
        }
    }

    /// Puts a descriptor into the arguments.
    pub fn descriptor(&mut self, at: usize, fd: RawFd) {
        self.object(at, TYPE_FD, fd.unsigned_abs().into(), 1);
    }

    /// Puts an object into the arguments, unless it overlaps another one: the driver refuses overlaps.
    pub fn object(&mut self, at: usize, kind: u32, value: u64, cookie: u64) {
        let at = self.header + at;
        let overlaps = |other: &u64| (*other as usize).abs_diff(at) < OBJECT_BYTES;
        if self.objects.iter().any(overlaps) {
            return;
        }
        let Some(place) = self.data.get_mut(at..at + OBJECT_BYTES) else { return };
        place[0..4].copy_from_slice(&kind.to_ne_bytes());
        place[4..8].fill(0);
        place[8..16].copy_from_slice(&value.to_ne_bytes());
        place[16..24].copy_from_slice(&cookie.to_ne_bytes());
        self.objects.push(at as u64);
    }

    /// Hands the request to an object of this process, as a thread of the pool does, and returns the
    /// reply. Its descriptors remain their owner's, and must be open until then.
    pub fn transact(mut self, target: &SIBinder, code: u32) -> Result<Parcel, StatusCode> {
        self.objects.sort_unstable();
        let object = target.as_transactable().ok_or(StatusCode::BadType)?;
        let (data, objects) = (&mut self.data, &mut self.objects);
        // SAFETY: both arrays outlive the parcel, and nothing else uses them meanwhile. The caller keeps
        // the descriptors open.
        let mut request = unsafe {
            Parcel::from_ipc_parts(
                data.as_mut_ptr(),
                data.len(),
                objects.as_mut_ptr(),
                objects.len(),
                // This function frees the arrays.
                |_, _, _, _, _| Ok(()),
            )
        };
        let mut reply = Parcel::new();
        object.transact(code, &mut request, &mut reply)?;
        reply.set_data_position(0);
        Ok(reply)
    }
}

/// The four bytes at a position; 0 beyond the end.
pub fn word(data: &[u8], at: usize) -> u64 {
    let mut word = [0; 4];
    if let Some(there) = data.get(at..at + 4) {
        word.copy_from_slice(there);
    }
    u32::from_le_bytes(word).into()
}

/// The eight bytes at a position; 0 beyond the end.
pub fn long(data: &[u8], at: usize) -> i64 {
    (word(data, at) | word(data, at + 4) << 32) as i64
}
