// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The names of libbinder_rs that buffersync uses, over rsbinder.
//!
//! In Android's tree the crate `binder` is libbinder_rs. On crates.io that name belongs to another
//! crate. So the code says `binder::`, Cargo builds it with this crate, and Soong with libbinder_rs.
//! Every item here must exist in libbinder_rs with the same name and use; `buffersync_aidl::runtime` has
//! the differences. The crate knows nothing of buffersync.

pub use rsbinder::{
    FromIBinder, IBinder, Interface, ParcelFileDescriptor, SIBinder as SpIBinder, Status,
    StatusCode, Strong,
};

pub type Result<T> = std::result::Result<T, Status>;

/// The transaction that the calling thread handles.
pub struct ThreadState;

impl ThreadState {
    /// The effective uid of the caller. Outside of a call, the uid of this process.
    pub fn get_calling_uid() -> u32 {
        rsbinder::get_calling_uid()
    }
}

/// This process's binder threads.
pub struct ProcessState;

impl ProcessState {
    /// Starts to serve calls. Call it before `join_thread_pool`.
    pub fn start_thread_pool() {
        rsbinder::ProcessState::start_thread_pool();
    }

    /// Adds the calling thread to the pool. Returns when the driver is gone.
    pub fn join_thread_pool() {
        if let Err(error) = rsbinder::ProcessState::join_thread_pool() {
            log::error!("binder thread pool ended: {error:?}");
        }
    }
}

/// Looks up a service. Does not wait for its registration.
pub fn check_interface<T: FromIBinder + ?Sized>(
    name: &str,
) -> std::result::Result<Strong<T>, StatusCode> {
    rsbinder::hub::check_interface(name)
}

/// Returns the instances of an interface that the device's manifest declares.
pub fn get_declared_instances(interface: &str) -> std::result::Result<Vec<String>, StatusCode> {
    rsbinder::hub::try_get_declared_instances(interface).map_err(StatusCode::from)
}
