// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Random transactions for the service's real objects, without a client process and without the driver.
//!
//! | module | contents |
//! |---|---|
//! | [`input`] | the fuzzer's bytes as steps: calls and actions of a client |
//! | [`parcel`] | a parcel as the driver delivers it |
//! | [`descriptors`] | the descriptors that a client may send: dma-bufs of all exporters, fences, others |
//! | [`client`] | the client that an input plays: groups, locks, fences |
//! | [`victims`] | two other clients, one that holds and one that waits |
//! | [`oracle`] | checks that an input has left nothing behind |
//!
//! One process is both the service, with its reactor and sync workers, and the caller of its objects.
//! After each input the client is gone, and the open descriptors, the tables in the service's dump and
//! the victims' locks must be what they were before. A difference is a finding, and so is a panic in any
//! thread.
//!
//! It needs the devices of the testbed's guest: a binder driver (to write a reply with a group), a
//! DMA-BUF heap, udmabuf and vgem.

pub mod client;
pub mod descriptors;
pub mod input;
pub mod oracle;
pub mod parcel;
pub mod victims;

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::BnBufferSync;
use buffersync_aidl::runtime;
use buffersync_service::binder::hal::BufferSync;
use buffersync_service::config::Config;
use buffersync_service::quota::Resources;
use rsbinder::{SIBinder, FIRST_CALL_TRANSACTION};

use client::Client;
use descriptors::Descriptors;
use oracle::Oracle;
use parcel::Request;
use victims::Victims;

/// Inputs between two thorough checks: a thorough check takes longer than an input.
pub const THOROUGH: usize = 16;
/// Inputs between two turns of the victims, in which they unlock and lock again.
const TURNS: usize = 256;
/// The file with the inputs since the last thorough check, as one input. libFuzzer itself keeps only the
/// very last input.
const LAST_INPUTS: &str = "last-inputs";

/// The process, between two inputs.
struct Fuzzer {
    service: SIBinder,
    descriptors: Descriptors,
    victims: Victims,
    oracle: Oracle,
    inputs: usize,
}

thread_local! {
    /// libFuzzer uses one thread.
    static FUZZER: RefCell<Option<Fuzzer>> = const { RefCell::new(None) };
}

/// Plays one input; panics if the service has done something wrong.
pub fn run(bytes: &[u8]) {
    FUZZER.with_borrow_mut(|fuzzer| fuzzer.get_or_insert_with(Fuzzer::new).run(bytes));
}

/// Small limits, so that inputs reach them.
fn config() -> Config {
    Config {
        max_groups_per_uid: 6,
        max_buffers_per_group: 3,
        max_locks_per_group: 3,
        max_buffers_per_uid: 4,
        max_queued_per_uid: 3,
        max_fences_per_uid: 8,
        max_fds_per_handle: 8,
        max_remembered: 4,
        // Long, so that only a fault takes the victims' locks away.
        max_hold_ms: 3_600_000,
        default_hold_ms: 2_000,
        ..Config::default()
    }
}

impl Fuzzer {
    fn new() -> Self {
        keep_last_inputs();
        let config = config();
        runtime::open_driver(&config.device, Some(0))
            .expect("the testbed's guest has a binder driver: cargo xtask fuzz service");
        let arbiter = buffersync_service::start(config, Resources::AMPLE)
            .expect("the arbiter does not start");
        let service =
            buffersync_aidl::new_binder!(BnBufferSync, BufferSync::new(Arc::clone(&arbiter)));
        let service = service.as_binder();
        // The service would refuse every parcel with a wrong header, and nothing would be tested.
        let capabilities = Request::new(service.descriptor(), &[]);
        assert!(capabilities.transact(&service, FIRST_CALL_TRANSACTION).is_ok(), "wrong header");
        let descriptors = Descriptors::new().expect("the guest's devices");
        let victims = Victims::new(&arbiter, &descriptors);
        let oracle = Oracle::new(arbiter);
        Self { service, descriptors, victims, oracle, inputs: 0 }
    }

    fn run(&mut self, bytes: &[u8]) {
        last_inputs().extend(bytes);
        let strangers = (self.victims.lock_held(), self.victims.buffer());
        let mut client = Client::new(&self.service, &self.descriptors, strangers);
        for step in input::steps(bytes) {
            client.step(&step);
        }
        drop(client);
        self.oracle.check();
        self.victims.check();
        self.inputs += 1;
        if self.inputs.is_multiple_of(THOROUGH) {
            self.oracle.check_thoroughly();
            self.victims.check_thoroughly();
            last_inputs().clear();
        }
        if self.inputs.is_multiple_of(TURNS) {
            self.victims.take_turns();
            self.oracle.learn();
            self.descriptors.reset();
        }
    }
}

/// The inputs since the last thorough check. Nothing panics while it is locked.
fn last_inputs() -> MutexGuard<'static, Vec<u8>> {
    static LAST: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a panic in any thread write the last inputs. libFuzzer's hook then ends the process.
fn keep_last_inputs() {
    let libfuzzers = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        match std::fs::write(LAST_INPUTS, &*last_inputs()) {
            Ok(()) => eprintln!("the last inputs are in {LAST_INPUTS}"),
            Err(error) => eprintln!("{LAST_INPUTS}: {error}"),
        }
        libfuzzers(panic);
    }));
}
