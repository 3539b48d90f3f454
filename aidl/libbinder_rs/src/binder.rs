// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Binder objects and references to them.

use std::any::Any;
use std::ffi::CStr;
use std::io::Write;
use std::ops::Deref;
use std::os::fd::AsRawFd;

use crate::error::StatusCode;
use crate::parcel::{BorrowedParcel, Parcel};
use crate::proxy::{DeathRecipient, SpIBinder};

type Result<T> = std::result::Result<T, StatusCode>;

/// Which method is called.
pub type TransactionCode = u32;
/// `FLAG_*`.
pub type TransactionFlags = u32;

/// The number of an interface's first method.
pub const FIRST_CALL_TRANSACTION: TransactionCode = 1;
/// The last number that a method can have.
pub const LAST_CALL_TRANSACTION: TransactionCode = 0x00ff_ffff;
/// Of a call that waits for no reply.
pub const FLAG_ONEWAY: TransactionFlags = 1;
/// Of a call whose parcels are overwritten afterwards.
pub const FLAG_CLEAR_BUF: TransactionFlags = 0x20;
/// Of each call between a vendor's processes.
pub const FLAG_PRIVATE_LOCAL: TransactionFlags = 0x1000_0000;

/// What every AIDL interface is. (libbinder_rs says `DowncastSync`, which has these bounds.)
pub trait Interface: Send + Sync + Any {
    /// The object itself.
    fn as_binder(&self) -> SpIBinder {
        unimplemented!()
    }

    /// Prints the object's state.
    fn dump(&self, _writer: &mut dyn Write, _args: &[&CStr]) -> Result<()> {
        unimplemented!()
    }
}

/// An interface that a binder can be taken for.
pub trait FromIBinder: Interface {
    /// The binder as this interface, if it is of it.
    fn try_from(ibinder: SpIBinder) -> Result<Strong<Self>>;
}

/// A synchronous interface that has an asynchronous one.
pub trait ToAsyncInterface<P>: Interface
where
    Self::Target: FromIBinder,
{
    /// That one.
    type Target: ?Sized;
}

/// An asynchronous interface that has a synchronous one.
pub trait ToSyncInterface: Interface
where
    Self::Target: FromIBinder,
{
    /// That one.
    type Target: ?Sized;
}

/// Who may use an interface.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stability {
    /// What is built together.
    #[default]
    Local,
    /// Everybody on the device.
    Vintf,
}

/// The type of an interface's objects.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct InterfaceClass(());

/// An object that can be called from other processes.
pub trait Remotable: Send + Sync + 'static {
    /// The AIDL name of its interface.
    fn get_descriptor() -> &'static str;
    /// Answers a call.
    fn on_transact(
        &self,
        code: TransactionCode,
        data: &BorrowedParcel<'_>,
        reply: &mut BorrowedParcel<'_>,
    ) -> Result<()>;
    /// Prints its state.
    fn on_dump(&self, file: &mut dyn Write, args: &[&CStr]) -> Result<()>;
    /// The type of its interface's objects.
    fn get_class() -> InterfaceClass;
}

/// An object of this process that others call.
pub struct Binder<T: Remotable>(T);

impl<T: Remotable> Binder<T> {
    /// Makes one of `rust_object`.
    pub fn new_with_stability(_rust_object: T, _stability: Stability) -> Binder<T> {
        unimplemented!()
    }
}

impl<T: Remotable> Interface for Binder<T> {}

impl<T: Remotable> Deref for Binder<T> {
    type Target = T;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T: Remotable> TryFrom<SpIBinder> for Binder<T> {
    type Error = StatusCode;

    fn try_from(_: SpIBinder) -> Result<Self> {
        unimplemented!()
    }
}

/// What can be asked of any binder.
pub trait IBinder {
    /// Has the recipient told when the object dies.
    fn link_to_death(&mut self, recipient: &mut DeathRecipient) -> Result<()>;
    /// Takes that back.
    fn unlink_to_death(&mut self, recipient: &mut DeathRecipient) -> Result<()>;
    /// Whether the object answers.
    fn ping_binder(&mut self) -> Result<()>;
}

/// What can be asked of any binder, by those who know what it is.
pub trait IBinderInternal: IBinder {
    /// Whether its process lives, as far as is known.
    fn is_binder_alive(&self) -> bool;
    /// Has it print its state.
    fn dump<F: AsRawFd>(&mut self, fp: &F, args: &[&str]) -> Result<()>;
    /// What else it serves.
    fn get_extension(&mut self) -> Result<Option<SpIBinder>>;
    /// A parcel for the arguments of a call.
    fn prepare_transact(&self) -> Result<Parcel>;
    /// Calls, and returns the reply.
    fn submit_transact(
        &self,
        code: TransactionCode,
        data: Parcel,
        flags: TransactionFlags,
    ) -> Result<Parcel>;
}

/// A reference that keeps the object.
pub struct Strong<I: FromIBinder + ?Sized>(Box<I>);

impl<I: FromIBinder + ?Sized> Strong<I> {
    /// A reference to an object.
    pub fn new(binder: Box<I>) -> Self {
        Self(binder)
    }
}

impl<I: FromIBinder + ?Sized> Clone for Strong<I> {
    fn clone(&self) -> Self {
        unimplemented!()
    }
}

impl<I: FromIBinder + ?Sized> Deref for Strong<I> {
    type Target = I;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<I: FromIBinder + std::fmt::Debug + ?Sized> std::fmt::Debug for Strong<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<I: FromIBinder + ?Sized> PartialEq for Strong<I> {
    fn eq(&self, _: &Self) -> bool {
        unimplemented!()
    }
}

impl<I: FromIBinder + ?Sized> Eq for Strong<I> {}

impl<I: FromIBinder + ?Sized> AsRef<I> for Strong<I> {
    fn as_ref(&self) -> &I {
        &self.0
    }
}

impl<I: FromIBinder + ?Sized> std::borrow::Borrow<I> for Strong<I> {
    fn borrow(&self) -> &I {
        &self.0
    }
}

/// How a new object is to behave.
#[derive(Default)]
pub struct BinderFeatures {
    /// It wants to know its callers' SELinux contexts. (libbinder_rs has this for the platform's
    /// variant only; a vendor's has no field at all.)
    _non_exhaustive: (),
}

/// Makes the class and the proxy of an interface, in the form that AOSP's compiler uses it.
#[macro_export]
macro_rules! declare_binder_interface {
    {
        $interface:path[$descriptor:expr] {
            native: $native:ident($on_transact:path),
            proxy: $proxy:ident {
                $($field:ident: $type:ty = $value:expr),*
            },
            async: $async_interface:ident,
            stability: $stability:expr,
        }
    } => {
        /// The interface in another process.
        pub struct $proxy {
            binder: $crate::SpIBinder,
            $($field: $type,)*
        }

        impl $crate::Interface for $proxy {}

        impl $crate::binder_impl::Proxy for $proxy
        where
            $proxy: $interface,
        {
            fn get_descriptor() -> &'static str {
                $descriptor
            }

            fn from_binder(
                binder: $crate::SpIBinder,
            ) -> std::result::Result<Self, $crate::StatusCode> {
                Ok(Self { binder, $($field: $value),* })
            }
        }

        /// The interface in this process.
        pub struct $native(Box<dyn $interface + Sync + Send + 'static>);

        impl $native {
            /// Makes an object that can be called.
            pub fn new_binder<T: $interface + Sync + Send + 'static>(
                inner: T,
                _features: $crate::BinderFeatures,
            ) -> $crate::Strong<dyn $interface> {
                let native = $native(Box::new(inner));
                let binder = $crate::binder_impl::Binder::new_with_stability(native, $stability);
                $crate::Strong::new(Box::new(binder))
            }

            /// What `new_binder` was given, if it is a `T`.
            pub fn downcast_binder<T: $interface>(&self) -> Option<&T> {
                unimplemented!()
            }
        }

        impl $crate::binder_impl::Remotable for $native {
            fn get_descriptor() -> &'static str {
                $descriptor
            }

            fn on_transact(
                &self,
                code: $crate::binder_impl::TransactionCode,
                data: &$crate::binder_impl::BorrowedParcel<'_>,
                reply: &mut $crate::binder_impl::BorrowedParcel<'_>,
            ) -> std::result::Result<(), $crate::StatusCode> {
                $on_transact(&*self.0, code, data, reply)
            }

            fn on_dump(
                &self,
                writer: &mut dyn std::io::Write,
                args: &[&std::ffi::CStr],
            ) -> std::result::Result<(), $crate::StatusCode> {
                self.0.dump(writer, args)
            }

            fn get_class() -> $crate::binder_impl::InterfaceClass {
                unimplemented!()
            }
        }

        $crate::declare_binder_interface! { @reference [] $interface }
        $crate::declare_binder_interface! {
            @reference [P: $crate::BinderAsyncPool + 'static] $async_interface<P>
        }

        impl<P: $crate::BinderAsyncPool + 'static> $crate::binder_impl::ToAsyncInterface<P>
            for dyn $interface
        {
            type Target = dyn $async_interface<P>;
        }

        impl<P: $crate::BinderAsyncPool + 'static> $crate::binder_impl::ToSyncInterface
            for dyn $async_interface<P>
        {
            type Target = dyn $interface;
        }
    };

    { @reference [$($param:tt)*] $interface:path } => {
        impl<$($param)*> $crate::FromIBinder for dyn $interface {
            fn try_from(
                _: $crate::SpIBinder,
            ) -> std::result::Result<$crate::Strong<dyn $interface>, $crate::StatusCode> {
                unimplemented!()
            }
        }

        impl<$($param)*> $crate::binder_impl::Serialize for dyn $interface + '_
        where
            dyn $interface: $crate::Interface,
        {
            fn serialize(
                &self,
                _: &mut $crate::binder_impl::BorrowedParcel<'_>,
            ) -> std::result::Result<(), $crate::StatusCode> {
                unimplemented!()
            }
        }

        impl<$($param)*> $crate::binder_impl::SerializeOption for dyn $interface + '_ {}

        impl<$($param)*> std::fmt::Debug for dyn $interface + '_ {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                unimplemented!()
            }
        }

        impl<$($param)*> std::borrow::ToOwned for dyn $interface {
            type Owned = $crate::Strong<dyn $interface>;
            fn to_owned(&self) -> Self::Owned {
                unimplemented!()
            }
        }
    };
}

/// Makes the type of an enum: a number, of which some have names.
#[macro_export]
macro_rules! declare_binder_enum {
    {
        $(#[$attr:meta])*
        $enum:ident : [$backing:ty; $size:expr] {
            $($(#[$value_attr:meta])* $name:ident = $value:expr,)*
        }
    } => {
        $(#[$attr])*
        #[derive(Debug, Default, Copy, Clone, PartialOrd, Ord, PartialEq, Eq, Hash)]
        pub struct $enum(pub $backing);

        impl $enum {
            $($(#[$value_attr])* pub const $name: Self = Self($value);)*

            /// All that have names.
            pub const fn enum_values() -> [Self; $size] {
                [$(Self::$name),*]
            }
        }

        impl $crate::binder_impl::Serialize for $enum {
            fn serialize(
                &self,
                _: &mut $crate::binder_impl::BorrowedParcel<'_>,
            ) -> std::result::Result<(), $crate::StatusCode> {
                unimplemented!()
            }
        }

        impl $crate::binder_impl::SerializeArray for $enum {}

        impl $crate::binder_impl::Deserialize for $enum {
            type UninitType = Self;
            fn uninit() -> Self::UninitType {
                unimplemented!()
            }
            fn from_init(_: Self) -> Self::UninitType {
                unimplemented!()
            }
            fn deserialize(
                _: &$crate::binder_impl::BorrowedParcel<'_>,
            ) -> std::result::Result<Self, $crate::StatusCode> {
                unimplemented!()
            }
        }

        impl $crate::binder_impl::DeserializeArray for $enum {}
    };
}
