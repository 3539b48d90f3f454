// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What the C and C++ examples do when something goes wrong: they are evicted, or the service dies and is started
//! again, or it is stopped for a while.

use std::time::{Duration, Instant};

use buffersync_client::{BufferSync, Error};
use buffersync_testbed_guest::stack::{patient, Stack};
use buffersync_testbed_guest::user::User;

use super::{buffers, program, size_and_hold, start_camera, Example, Peer, Viewer, PATIENCE};

/// An example that asks for this hold limit is too late when it is told to be slow.
const SHORT: u32 = 300;
/// Frames that must follow the recovery.
const FRAMES: usize = 20;

fn renew_service(sync: &BufferSync, stack: &mut Stack) {
    stack.kill_service().expect("kill");
    // The service manager may hear of the death later than this process.
    let begin = Instant::now();
    while !matches!(sync.capabilities(), Err(Error::NoService { .. })) {
        assert!(begin.elapsed() < PATIENCE, "{:?}", sync.capabilities().err());
        std::thread::sleep(Duration::from_millis(10));
    }
    stack.restart_service(&patient()).expect("restart");
}

/// Reads what it prints until 0.
fn await_loss(example: &mut Example) {
    while example.next() != 0 {}
}

pub fn of_the_camera(sync: &BufferSync, stack: &mut Stack) {
    let places = buffers();
    let mut camera = start_camera(&places, SHORT);
    camera.send(1);
    await_loss(&mut camera);
    // It goes on.
    while camera.next() == 0 {}
    camera.finish();

    let mut camera = start_camera(&places, 0);
    camera.next();
    renew_service(sync, stack);
    // The frames before this one may be torn: nobody has kept a lock.
    await_loss(&mut camera);
    let mut viewer = Viewer::new(sync, [&places[0], &places[1]]);
    for _ in 0..FRAMES {
        viewer.look(camera.next());
    }
    camera.finish();
}

pub fn of_the_codec(sync: &BufferSync, stack: &mut Stack) {
    let [input, output] = buffers();
    let start = |hold_millis| {
        let codec = program(User::CODEC, "codec");
        Example::start(codec, &[&input, &output], &size_and_hold(hold_millis))
    };
    let mut codec = start(SHORT);
    codec.send(0);
    assert_eq!(codec.next(), 0);
    codec.finish();

    let mut codec = start(0);
    Peer::new(sync, &input, &output).exchange_one(&mut codec, 1, |word| !word);
    renew_service(sync, stack);
    let mut peer = Peer::new(sync, &input, &output);
    for number in (2..).take(FRAMES) {
        peer.exchange_one(&mut codec, number, |word| !word);
    }
    codec.finish();
}

/// How many requests of a camera HAL were delivered, evicted and lost.
fn end_hal(hal: Example) -> [u32; 3] {
    let line = hal.last_line();
    let words: Vec<&str> = line.split(' ').collect();
    let ["delivered", delivered, "evicted", evicted, "lost", lost] = words[..] else {
        panic!("it said {line:?}");
    };
    [delivered, evicted, lost].map(|count| count.parse().expect("a number"))
}

pub fn of_a_camera_hal(sync: &BufferSync, stack: &mut Stack) {
    let start = |hold_millis: u32| {
        let hal = program(User::CAMERA, "camera_hal");
        Example::start(hal, &[], &[hold_millis.to_string()])
    };
    // No hold limit: every request is delivered.
    let mut hal = start(0);
    for number in 1..=60 {
        assert_eq!(hal.next(), number);
    }
    let [delivered, evicted, lost] = end_hal(hal);
    assert!(delivered >= 60 && (evicted, lost) == (0, 0), "{delivered} {evicted} {lost}");

    let mut hal = start(SHORT);
    await_loss(&mut hal);
    while hal.next() == 0 {}
    let [delivered, evicted, lost] = end_hal(hal);
    assert!(delivered > 0 && evicted > 0 && lost == 0, "{delivered} {evicted} {lost}");

    let mut hal = start(0);
    hal.next();
    renew_service(sync, stack);
    // At least one request was in flight, and the requests after it are delivered.
    await_loss(&mut hal);
    while hal.next() == 0 {}
    let [delivered, evicted, lost] = end_hal(hal);
    assert!(delivered > 0 && evicted == 0 && lost > 0, "{delivered} {evicted} {lost}");
}

pub fn from_a_stopped_service(stack: &Stack) {
    let [buffer] = buffers();
    let service = vec![stack.service_pid().to_string()];
    // The number of the service comes after the buffer.
    Example::start(program(User::ROOT, "stopped_service"), &[&buffer], &service).finish();
}
