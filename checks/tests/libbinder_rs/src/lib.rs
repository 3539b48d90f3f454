// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The signatures of Android's libbinder_rs, as far as buffersync may use them.
//!
//! No program runs with this crate. `cargo xtask test` compiles against it the modules of Android.bp
//! and the bindings that AOSP's AIDL compiler writes. So it finds a call that only rsbinder has,
//! before a build in Android's tree does. The original is `frameworks/native/libs/binder/rust`
//! (Android 15 and 16, vendor variant), which documents the items: a bound, a receiver or a return
//! type that differs from there is a mistake here. The crate knows nothing of buffersync.

mod binder;
mod binder_async;
mod error;
mod file_descriptor;
mod parcel;
mod proxy;
mod service;
mod state;

pub use crate::binder_async::{BinderAsyncPool, BoxFuture};
pub use binder::{BinderFeatures, FromIBinder, IBinder, Interface, Strong};
pub use error::{ExceptionCode, Status, StatusCode};
pub use file_descriptor::ParcelFileDescriptor;
pub use parcel::Parcelable;
pub use proxy::{DeathRecipient, SpIBinder};
pub use service::{
    add_service, check_interface, check_service, get_declared_instances, is_declared,
    is_handling_transaction, wait_for_interface, wait_for_service,
};
pub use state::{ProcessState, ThreadState};

pub type Result<T> = std::result::Result<T, Status>;

/// For generated code, and for calls on a binder without an interface.
pub mod binder_impl {
    pub use crate::binder::{
        Binder, IBinderInternal, InterfaceClass, Remotable, Stability, ToAsyncInterface,
        ToSyncInterface, TransactionCode, TransactionFlags, FIRST_CALL_TRANSACTION, FLAG_CLEAR_BUF,
        FLAG_ONEWAY, FLAG_PRIVATE_LOCAL, LAST_CALL_TRANSACTION,
    };
    pub use crate::binder_async::BinderAsyncRuntime;
    pub use crate::error::status_t;
    pub use crate::parcel::{
        BorrowedParcel, Deserialize, DeserializeArray, DeserializeOption, Parcel,
        ParcelableMetadata, Serialize, SerializeArray, SerializeOption, NON_NULL_PARCELABLE_FLAG,
        NULL_PARCELABLE_FLAG,
    };
    pub use crate::proxy::{AssociateClass, Proxy};
}
