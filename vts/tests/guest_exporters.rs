// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Checks the testbed's dma-bufs, because the other tests rely on their properties.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

use buffersync_testbed_guest::dmabuf::{DmaBuf, Mapping};
use buffersync_testbed_guest::vgem::Vgem;
use buffersync_testbed_guest::{fdpass, heap, udmabuf};
use nix::poll::{PollFd, PollFlags};

const SIZE: usize = 64 * 1024;

fn exporters() -> Vec<(&'static str, DmaBuf)> {
    let vgem = Vgem::open().expect("vgem").allocate(SIZE).expect("vgem buffer");
    vec![
        ("heap", heap::allocate(SIZE).expect("heap")),
        ("udmabuf", udmabuf::allocate(SIZE).expect("udmabuf")),
        ("vgem", vgem.dmabuf),
    ]
}

#[test]
fn what_is_written_through_one_descriptor_is_read_through_another() {
    for (name, buffer) in exporters() {
        let mut mapping = buffer.map().expect(name);
        for word in 0..mapping.words() {
            mapping.write(word, word as u64 * 3);
        }
        let (here, there) = UnixStream::pair().expect("socketpair");
        fdpass::send(&here, &[buffer.as_fd()]).expect("send");
        let passed = fdpass::receive(&there).expect("receive").remove(0);
        let other = Mapping::new(passed.as_fd(), SIZE).expect(name);
        assert!((0..other.words()).all(|word| other.read(word) == word as u64 * 3), "{name}");
    }
}

#[test]
fn they_are_dma_bufs_and_different_ones() {
    let mut inodes = Vec::new();
    for (name, buffer) in exporters() {
        let magic = nix::sys::statfs::fstatfs(buffer.as_fd()).expect("fstatfs").filesystem_type();
        assert_eq!(magic.0, 0x444d_4142, "{name}");
        inodes.push(nix::sys::stat::fstat(buffer.as_fd().as_raw_fd()).expect("fstat").st_ino);
    }
    inodes.sort_unstable();
    inodes.dedup();
    assert_eq!(inodes.len(), 3);
}

#[test]
fn a_fence_holds_poll_back_until_it_is_signalled() {
    let vgem = Vgem::open().expect("vgem");
    let buffer = vgem.allocate(SIZE).expect("buffer");
    let ready = |fd: std::os::fd::BorrowedFd<'_>, millis: u8| {
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        nix::poll::poll(&mut fds, millis).expect("poll") > 0
    };
    assert!(ready(buffer.dmabuf.as_fd(), 0));
    let fence = vgem.attach(&buffer, true).expect("attach");
    let sync_file = buffer.dmabuf.sync_file().expect("sync_file");
    assert!(!ready(buffer.dmabuf.as_fd(), 50));
    assert!(!ready(sync_file.as_fd(), 50));
    vgem.signal(fence).expect("signal");
    assert!(ready(buffer.dmabuf.as_fd(), 250));
    assert!(ready(sync_file.as_fd(), 250));
}
