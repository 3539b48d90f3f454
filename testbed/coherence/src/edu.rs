// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! QEMU's edu device (docs/specs/edu in QEMU), driven from user space: it copies less than 4 KiB between its own
//! memory and any address of the machine's memory. It stands for every device that the service arbitrates.
//!
//! The device's data goes through a scratch page, which is a udmabuf too: its START and END move the
//! data between the CPU's copy and the device's copy of that page.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use buffersync_testbed_guest::dmabuf::Mapping;

use crate::memory::{Bounced, PAGE, WORDS};

/// Vendor and device of the PCI device, as sysfs has them.
const ID: [(&str, &str); 2] = [("vendor", "0x1234"), ("device", "0x11e8")];
/// Bytes of its registers.
const BAR: usize = 1 << 20;
/// Its registers for DMA, in words of 64 bits.
const SOURCE: usize = 0x80 / 8;
const DESTINATION: usize = 0x88 / 8;
const COUNT: usize = 0x90 / 8;
const COMMAND: usize = 0x98 / 8;
/// The command's bits: run, and from the device to memory.
const RUN: u64 = 1;
const TO_MEMORY: u64 = 2;
/// Where the device has its own 4 KiB, in its own addresses.
const OWN: u64 = 0x40000;
/// The words of one transfer. All 4 KiB at once are too many for it.
pub const ROOM: usize = WORDS / 2;
/// A transfer takes 100 ms. To sleep a bit longer than that is to look once.
const TRANSFER: Duration = Duration::from_micros(100_100);

/// The device.
pub struct Edu {
    registers: Mapping,
    scratch: Bounced,
    /// Transfers from or to buffers, the scratch page aside.
    pub transfers: u64,
}

impl Edu {
    /// Finds the device, switches it on and lets it do DMA. Needs root.
    pub fn open() -> io::Result<Self> {
        let folder = find(Path::new("/sys/bus/pci/devices"))?;
        fs::write(folder.join("enable"), "1")?;
        let config = folder.join("config");
        // Bit 2 of PCI's command register: the device may be a master of the bus.
        let mut command = fs::read(&config)?.get(4).copied().unwrap_or_default();
        command |= 1 << 2;
        write_at(&config, 4, &[command])?;
        let bar = fs::OpenOptions::new().read(true).write(true).open(folder.join("resource0"))?;
        let registers = Mapping::new(bar.as_fd(), BAR)?;
        Ok(Self { registers, scratch: Bounced::new(PAGE)?, transfers: 0 })
    }

    /// The device takes words into its own memory.
    pub fn load(&mut self, words: &[u64]) -> io::Result<()> {
        for (at, word) in words.iter().enumerate() {
            self.scratch.mapping.write(at, *word);
        }
        self.scratch.clean()?;
        self.transfer(self.scratch.pages[0], OWN, words.len(), 0);
        Ok(())
    }

    /// The device writes some of the words of [`Edu::load`], from `first` on, to an address.
    pub fn store(&mut self, first: usize, address: u64, words: usize) {
        self.transfers += 1;
        self.transfer(OWN + 8 * first as u64, address, words, TO_MEMORY);
    }

    /// The device reads a page of memory.
    pub fn read(&mut self, address: u64) -> io::Result<Vec<u64>> {
        for half in [0, PAGE as u64 / 2] {
            self.transfers += 1;
            self.transfer(address + half, OWN, ROOM, 0);
            self.transfer(OWN, self.scratch.pages[0] + half, ROOM, TO_MEMORY);
        }
        self.scratch.invalidate()?;
        Ok((0..WORDS).map(|at| self.scratch.mapping.read(at)).collect())
    }

    fn transfer(&mut self, from: u64, to: u64, words: usize, direction: u64) {
        self.registers.write(SOURCE, from);
        self.registers.write(DESTINATION, to);
        self.registers.write(COUNT, 8 * words as u64);
        self.registers.write(COMMAND, RUN | direction);
        loop {
            thread::sleep(TRANSFER);
            if self.registers.read(COMMAND) & RUN == 0 {
                return;
            }
        }
    }
}

fn find(devices: &Path) -> io::Result<PathBuf> {
    for entry in fs::read_dir(devices)? {
        let folder = entry?.path();
        let is = |(file, value): (&str, &str)| {
            fs::read_to_string(folder.join(file)).is_ok_and(|text| text.trim() == value)
        };
        if ID.into_iter().all(is) {
            return Ok(folder);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "no edu device: QEMU needs -device edu"))
}

fn write_at(file: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    fs::OpenOptions::new().write(true).open(file)?.write_all_at(bytes, offset)
}
