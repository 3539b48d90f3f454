// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A service that believes that its kernel can't export and import implicit fences: the feature is off, a
//! group that asks for it is refused, and everything else works.

use std::path::PathBuf;

use buffersync_client::{Access, BufferSync, Error, Options};
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::stack::{patient, Stack};
use buffersync_vts::fence::{has_signalled, Pending};

#[test]
fn without_the_ioctls_explicit_fences_work_and_implicit_ones_are_refused() {
    let own = std::env::current_exe().expect("own path");
    let out = std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| "/out".into(), PathBuf::from);
    let bin = own.parent().expect("a folder");
    let mut flags = patient();
    flags.extend(["--implicit-fences", "0"].map(String::from));
    let _stack = Stack::start(bin, &out.join("log-no-implicit"), &flags).expect("stack");
    let service = BufferSync::connect().expect("connect");
    let capabilities = service.capabilities().expect("capabilities");
    assert!(capabilities.release_fence && !capabilities.implicit_fences);

    let asks = Options { implicit_fences: true, ..Options::default() };
    assert!(matches!(service.open_group("asks", asks), Err(Error::Unsupported(_))));
    let pending = Pending::new();
    let buffer = heap::allocate(16 * 1024).expect("heap");
    let giver = service.open_group("giver", Options::default()).expect("open_group");
    giver.add(&buffer, Access::DmaWrite).expect("add");
    let fence = pending.sync_file.try_clone().expect("dup");
    giver.lock(None).expect("lock").unlock_with(fence).expect("unlock");
    let taker = service.open_group("taker", Options::default()).expect("open_group");
    taker.add(&buffer, Access::DmaRead).expect("add");
    let grant = taker.lock(None).expect("lock");
    let fence = grant.acquire_fence().expect("a call").expect("an acquire fence");
    pending.signal();
    assert!(has_signalled(&fence));
    grant.unlock().expect("unlock");
}
