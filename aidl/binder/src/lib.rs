// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The names of libbinder_rs that buffersync uses, over rsbinder.
//!
//! In Android's tree the crate `binder` is libbinder_rs; on crates.io that name belongs to
//! something else. Code that says `binder::` builds against either: Soong links libbinder_rs where
//! Cargo takes this crate. So nothing may be here that libbinder_rs hasn't under the same name and
//! for the same use; what the two have differently is `buffersync_aidl::runtime`'s. It knows
//! nothing of buffersync.

pub use rsbinder::{
    FromIBinder, IBinder, Interface, ParcelFileDescriptor, SIBinder as SpIBinder, Status,
    StatusCode, Strong,
};

/// Result of an AIDL method.
pub type Result<T> = std::result::Result<T, Status>;

/// What the calling thread knows of the transaction that it handles.
pub struct ThreadState;

impl ThreadState {
    /// The effective uid of the process that made the current call; the own one outside of a call.
    pub fn get_calling_uid() -> u32 {
        rsbinder::get_calling_uid()
    }
}

/// This process's binder threads.
pub struct ProcessState;

impl ProcessState {
    /// Starts serving calls. Comes before any `join_thread_pool`.
    pub fn start_thread_pool() {
        rsbinder::ProcessState::start_thread_pool();
    }

    /// Gives the calling thread to the pool; returns when the driver is gone.
    pub fn join_thread_pool() {
        if let Err(error) = rsbinder::ProcessState::join_thread_pool() {
            log::error!("binder thread pool ended: {error:?}");
        }
    }
}

/// Looks a service up, without waiting for it to be registered.
pub fn check_interface<T: FromIBinder + ?Sized>(
    name: &str,
) -> std::result::Result<Strong<T>, StatusCode> {
    rsbinder::hub::check_interface(name)
}

/// The instances of an interface that the device's manifest declares.
pub fn get_declared_instances(interface: &str) -> std::result::Result<Vec<String>, StatusCode> {
    rsbinder::hub::try_get_declared_instances(interface).map_err(StatusCode::from)
}
