// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Real drivers: a V4L2 camera and a KMS display, against readers and writers on the CPU.
//!
//! The camera is locked from QBUF to DQBUF, the display until a page flip's fence has signalled. What the camera
//! wrote is seen in its picture ([`buffersync_testbed_guest::picture`]).

use std::os::fd::{AsFd, OwnedFd};

use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::HoldFrom::HoldFrom;
use buffersync_testbed_guest::dmabuf::{DmaBuf, Mapping};
use buffersync_testbed_guest::kms::Display;
use buffersync_testbed_guest::v4l2::{Camera, Captured};
use buffersync_testbed_guest::{heap, picture};
use buffersync_vts::calls::Reply;
use buffersync_vts::fence::{has_signalled, Pending};
use buffersync_vts::hal::{is_granted, is_readable, long, Grant, Group, SHORT};
use buffersync_vts::suite::Tests;
use buffersync_vts::tests;

pub const TESTS: Tests = tests![
    a_captured_frame_stays_as_it_is_while_a_reader_holds_it,
    a_picture_is_not_drawn_over_until_the_next_page_flip_has_signalled,
];

/// With a fence of vgem as well.
pub const TESTS_WITH_VGEM: Tests = tests![a_picture_comes_on_the_screen_behind_its_acquire_fence];

/// The camera's buffers.
const BUFFERS: usize = 4;
const ROUNDS: usize = 6;

fn buffers(count: usize) -> Vec<DmaBuf> {
    (0..count).map(|_| heap::allocate(picture::BYTES).expect("heap")).collect()
}

/// A group of buffers that are locked one by one. It holds what nobody else wants for as long as it likes.
struct Device {
    group: Group,
    ids: Vec<i64>,
}

impl Device {
    fn of(name: &str, buffers: &[DmaBuf], access: Access) -> Self {
        let options = GroupOptions { holdFrom: HoldFrom::CONFLICT, ..Default::default() };
        let group = Group::with_options(name, &options);
        let ids = buffers.iter().map(|buffer| group.add(buffer, access)).collect();
        Self { group, ids }
    }

    fn ask(&self, index: usize) -> Reply {
        self.group.binder.lock_some(&[self.ids[index]], &[], 0).expect("lock")
    }

    /// Tells if a lock is granted, at once or soon.
    fn has(&mut self, reply: &Reply) -> bool {
        is_granted(reply) || !self.group.nothing_within(SHORT)
    }

    fn lock(&mut self, index: usize) -> Grant {
        let reply = self.ask(index);
        self.group.granted(&reply)
    }
}

/// The camera, and the locks of the buffers that it has.
struct Capture {
    camera: Camera,
    memory: Vec<DmaBuf>,
    device: Device,
    held: Vec<Option<Grant>>,
}

impl Capture {
    /// Locks all buffers, queues them, and begins.
    fn start() -> Self {
        let camera = Camera::open().expect("a camera");
        camera.request_buffers(BUFFERS).expect("REQBUFS");
        let memory = buffers(BUFFERS);
        let device = Device::of("vts/camera", &memory, Access::DMA_WRITE);
        let held = memory.iter().map(|_| None).collect();
        let mut capture = Self { camera, memory, device, held };
        for index in 0..BUFFERS {
            let grant = capture.device.lock(index);
            capture.queue(index, grant);
        }
        capture.camera.stream_on().expect("STREAMON");
        capture
    }

    fn queue(&mut self, index: usize, grant: Grant) {
        self.camera.queue(index, &self.memory[index]).expect("QBUF");
        self.held[index] = Some(grant);
    }

    /// Waits for a frame, and unlocks its buffer.
    fn next(&mut self) -> Captured {
        assert!(is_readable(&self.camera, long()), "the camera captures nothing");
        let captured = self.camera.dequeue().expect("DQBUF").expect("a frame");
        let grant = self.held[captured.index].take();
        let grant = grant.expect("the camera has written a buffer that is not locked");
        self.device.group.unlock(&grant);
        captured
    }
}

fn a_captured_frame_stays_as_it_is_while_a_reader_holds_it() {
    let mut capture = Capture::start();
    let mut reader = Device::of("vts/reader", &capture.memory, Access::READ);
    let mapped: Vec<Mapping> =
        capture.memory.iter().map(|buffer| buffer.map().expect("mmap")).collect();
    let mut before = None;
    for _ in 0..ROUNDS {
        let Captured { index, sequence } = capture.next();
        let read = reader.lock(index);
        let frame = picture::look(&mapped[index]).expect("a whole frame");
        assert!(before.replace(sequence) < Some(sequence), "the camera repeats itself");

        // The camera writes whatever it is granted, also this buffer if a service lets it.
        let again = capture.device.ask(index);
        let must_wait = !capture.device.has(&again);
        if !must_wait {
            let grant = capture.device.group.granted(&again);
            capture.queue(index, grant);
        }
        for _ in 0..BUFFERS {
            let other = capture.next().index;
            let grant = capture.device.lock(other);
            capture.queue(other, grant);
        }
        assert_eq!(picture::look(&mapped[index]), Ok(frame), "written while a reader holds it");
        assert!(must_wait, "granted against a reader");
        reader.group.unlock(&read);
        let grant = capture.device.group.granted(&again);
        capture.queue(index, grant);
    }
    capture.camera.stream_off().expect("STREAMOFF");
}

/// Fills a picture with one colour.
fn draw(memory: &mut Mapping, colour: u32) {
    let pixels = u64::from(colour) << 32 | u64::from(colour);
    (0..memory.words()).for_each(|word| memory.write(word, pixels));
}

fn display() -> Display {
    Display::open(picture::WIDTH as u32, picture::HEIGHT as u32).expect("a display")
}

fn a_picture_is_not_drawn_over_until_the_next_page_flip_has_signalled() {
    let display = display();
    let memory = buffers(2);
    let pictures: Vec<_> =
        memory.iter().map(|buffer| display.import(buffer).expect("ADDFB2")).collect();
    let mut mapped: Vec<Mapping> =
        memory.iter().map(|buffer| buffer.map().expect("mmap")).collect();
    let mut screen = Device::of("vts/screen", &memory, Access::DMA_READ);
    let mut painter = Device::of("vts/painter", &memory, Access::WRITE);

    let mut drawing = painter.ask(0);
    let mut shown: Option<(Grant, OwnedFd)> = None;
    for round in 0..ROUNDS {
        let (index, next) = (round % 2, (round + 1) % 2);
        let grant = painter.group.granted(&drawing);
        // The other picture is on the screen, and this one is not any more.
        if let Some((_, flip)) = &shown {
            assert!(round < 2 || has_signalled(flip), "granted while it is on the screen");
            assert!(is_readable(flip, long()), "the page flip does not end");
        }
        draw(&mut mapped[index], 0x0040_8020 * (round as u32 + 1));
        painter.group.unlock(&grant);

        let grant = screen.lock(index);
        drawing = painter.ask(next);
        let flip = display.show(pictures[index], None).expect("a page flip");
        if let Some((before, _)) = shown.replace((grant, flip)) {
            assert!(!painter.has(&drawing), "granted while it is on the screen");
            let (_, flip) = shown.as_ref().expect("just put there");
            screen.group.unlock_fenced(&before, flip);
        }
    }
    let grant = painter.group.granted(&drawing);
    painter.group.unlock(&grant);
    display.off().expect("off");
    let (last, _) = shown.expect("a picture");
    screen.group.unlock(&last);
}

fn a_picture_comes_on_the_screen_behind_its_acquire_fence() {
    let display = display();
    let memory = buffers(2);
    let pictures: Vec<_> =
        memory.iter().map(|buffer| display.import(buffer).expect("ADDFB2")).collect();
    let mut screen = Device::of("vts/screen", &memory, Access::DMA_READ);
    let mut device = Device::of("vts/device", &memory, Access::DMA_WRITE);
    let mut painter = Device::of("vts/painter", &memory, Access::WRITE);

    let pending = Pending::new();
    let held = device.lock(0);
    device.group.unlock_fenced(&held, &pending.sync_file);
    let reply = screen.ask(0);
    assert!(is_granted(&reply), "a device waits for a fence itself");
    let grant = screen.group.granted(&reply);
    let acquire = OwnedFd::from(reply.fence.expect("an acquire fence"));
    let flip = display.show(pictures[0], Some(acquire.as_fd())).expect("a page flip");
    assert!(!is_readable(&flip, SHORT), "on the screen before the device has finished");
    pending.signal();
    assert!(is_readable(&flip, long()), "the page flip does not end");

    // The CPU may draw when the next picture has taken its place, which waits for a fence, too.
    let pending = Pending::new();
    let drawing = painter.ask(0);
    assert!(!painter.has(&drawing), "granted while it is on the screen");
    let other = screen.lock(1);
    let acquire = Some(pending.sync_file.as_fd());
    let flip = display.show(pictures[1], acquire).expect("a page flip");
    screen.group.unlock_fenced(&grant, &flip);
    assert!(!painter.has(&drawing), "granted before the page flip");
    pending.signal();
    let drawn = painter.group.granted(&drawing);
    assert!(has_signalled(&flip), "granted while it is on the screen");
    painter.group.unlock(&drawn);
    display.off().expect("off");
    screen.group.unlock(&other);
}
