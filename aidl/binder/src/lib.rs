// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The part of Android's libbinder_rs that buffersync uses, over rsbinder.
//!
//! In Android's tree the crate `binder` is libbinder_rs; on crates.io that name belongs to
//! something else. Code that says `binder::` builds against either: Soong links libbinder_rs where
//! Cargo takes this crate. What the two spell differently and a wrapper can hide is hidden here;
//! it knows nothing of buffersync.

pub use rsbinder::{
    ExceptionCode, FromIBinder, IBinder, Interface, NativeHandle, ParcelFileDescriptor,
    SIBinder as SpIBinder, Status, StatusCode, Strong,
};

/// Result of an AIDL method.
pub type BinderResult<T> = rsbinder::BinderResult<T>;

/// What the calling thread knows of the transaction that it handles.
pub struct ThreadState;

impl ThreadState {
    /// The effective uid of the process that made the current call; the own one outside of a call.
    pub fn get_calling_uid() -> u32 {
        rsbinder::get_calling_uid()
    }
}

/// This process's connection to the binder driver.
pub struct ProcessState;

impl ProcessState {
    /// Opens the driver at `device` and bounds the thread pool: the kernel starts at most
    /// `max_threads` threads beside those that join by themselves. Once per process.
    pub fn open(device: &str, max_threads: u32) -> Result<(), String> {
        rsbinder::ProcessState::init(device, max_threads)
            .map(|_| ())
            .map_err(|error| format!("{device}: {error}"))
    }

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

/// Registers `service` with the service manager.
pub fn add_service(name: &str, service: SpIBinder) -> Result<(), StatusCode> {
    rsbinder::hub::add_service(name, service).map_err(StatusCode::from)
}

/// Looks a service up, without waiting for it to be registered.
pub fn check_interface<T: rsbinder::FromIBinder + ?Sized>(
    name: &str,
) -> Result<Strong<T>, StatusCode> {
    rsbinder::hub::check_interface(name)
}

/// The instances of an interface that the device's manifest declares.
pub fn get_declared_instances(interface: &str) -> Result<Vec<String>, StatusCode> {
    rsbinder::hub::try_get_declared_instances(interface).map_err(StatusCode::from)
}

/// A status that carries a service-specific error.
pub fn service_specific(code: i32, message: &str) -> Status {
    Status::new_service_specific_error(code, Some(message.to_string()))
}

/// A status that carries an exception and its message.
pub fn exception(code: ExceptionCode, message: &str) -> Status {
    (code, message).into()
}
