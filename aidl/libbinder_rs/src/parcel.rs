// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What a transaction carries.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::binder::{Binder, FromIBinder, Remotable, Stability, Strong};
use crate::error::{Status, StatusCode};
use crate::file_descriptor::ParcelFileDescriptor;
use crate::proxy::SpIBinder;

type Result<T> = std::result::Result<T, StatusCode>;

/// Comes before a parcelable that is there.
pub const NON_NULL_PARCELABLE_FLAG: i32 = 1;
/// Stands for a parcelable that is not there.
pub const NULL_PARCELABLE_FLAG: i32 = 0;

/// A parcel of this process. `Send`, not `Sync`.
pub struct Parcel(PhantomData<Cell<()>>);

/// A parcel of somebody else's. Neither `Send` nor `Sync`.
pub struct BorrowedParcel<'a>(PhantomData<(&'a mut Parcel, *mut ())>);

/// The part of a parcel that one parcelable is written to.
pub struct WritableSubParcel<'a>(PhantomData<BorrowedParcel<'a>>);

/// The part of a parcel that one parcelable is read from.
pub struct ReadableSubParcel<'a>(PhantomData<BorrowedParcel<'a>>);

impl Parcel {
    /// The parcel as one that is handed on.
    pub fn borrowed(&mut self) -> BorrowedParcel<'_> {
        unimplemented!()
    }

    /// The parcel as one that is handed on to be read.
    pub fn borrowed_ref(&self) -> &BorrowedParcel<'_> {
        unimplemented!()
    }

    /// Writes a value.
    pub fn write<S: Serialize + ?Sized>(&mut self, _parcelable: &S) -> Result<()> {
        unimplemented!()
    }

    /// Reads a value.
    pub fn read<D: Deserialize>(&self) -> Result<D> {
        unimplemented!()
    }

    /// Reads into a value.
    pub fn read_onto<D: Deserialize>(&self, _x: &mut D) -> Result<()> {
        unimplemented!()
    }

    /// Writes how long an array is that the other side fills.
    pub fn write_slice_size<T>(&mut self, _slice: Option<&[T]>) -> Result<()> {
        unimplemented!()
    }
}

impl BorrowedParcel<'_> {
    /// Writes a value.
    pub fn write<S: Serialize + ?Sized>(&mut self, _parcelable: &S) -> Result<()> {
        unimplemented!()
    }

    /// Reads a value.
    pub fn read<D: Deserialize>(&self) -> Result<D> {
        unimplemented!()
    }

    /// Reads into a value.
    pub fn read_onto<D: Deserialize>(&self, _x: &mut D) -> Result<()> {
        unimplemented!()
    }

    /// Writes what `f` writes, and its size before it.
    pub fn sized_write<F>(&mut self, _f: F) -> Result<()>
    where
        for<'b> F: FnOnce(&'b mut WritableSubParcel<'b>) -> Result<()>,
    {
        unimplemented!()
    }

    /// Reads as much as was written with a size.
    pub fn sized_read<F>(&self, _f: F) -> Result<()>
    where
        for<'b> F: FnOnce(ReadableSubParcel<'b>) -> Result<()>,
    {
        unimplemented!()
    }

    /// Makes an array as long as the other side says.
    pub fn resize_out_vec<D: Default + Deserialize>(&self, _out_vec: &mut Vec<D>) -> Result<()> {
        unimplemented!()
    }
}

impl WritableSubParcel<'_> {
    /// Writes a value.
    pub fn write<S: Serialize + ?Sized>(&mut self, _parcelable: &S) -> Result<()> {
        unimplemented!()
    }
}

impl ReadableSubParcel<'_> {
    /// Reads a value.
    pub fn read<D: Deserialize>(&self) -> Result<D> {
        unimplemented!()
    }

    /// Whether there is more to be read.
    pub fn has_more_data(&self) -> bool {
        unimplemented!()
    }
}

/// A parcelable whose fields are in AIDL.
pub trait Parcelable {
    /// Writes the fields.
    fn write_to_parcel(&self, parcel: &mut BorrowedParcel<'_>) -> Result<()>;
    /// Reads the fields.
    fn read_from_parcel(&mut self, parcel: &BorrowedParcel<'_>) -> Result<()>;
}

/// What a holder of any parcelable asks of one.
pub trait ParcelableMetadata {
    /// Its AIDL name.
    fn get_descriptor() -> &'static str;

    /// Who may use it.
    fn get_stability(&self) -> Stability {
        unimplemented!()
    }
}

/// What can be written.
pub trait Serialize {
    /// Writes it.
    fn serialize(&self, parcel: &mut BorrowedParcel<'_>) -> Result<()>;
}

/// What can be read.
pub trait Deserialize: Sized {
    /// An element of an array that is being read: `Self`, or `Option<Self>` if that has no default.
    type UninitType;

    /// An element before it is read.
    fn uninit() -> Self::UninitType;
    /// An element after it is read.
    fn from_init(value: Self) -> Self::UninitType;
    /// Reads it.
    fn deserialize(parcel: &BorrowedParcel<'_>) -> Result<Self>;

    /// Reads into it.
    fn deserialize_from(&mut self, _parcel: &BorrowedParcel<'_>) -> Result<()> {
        unimplemented!()
    }
}

/// What arrays can be written of.
pub trait SerializeArray: Serialize + Sized {
    /// Writes one.
    fn serialize_array(_slice: &[Self], _parcel: &mut BorrowedParcel<'_>) -> Result<()> {
        unimplemented!()
    }
}

/// What arrays can be read of.
pub trait DeserializeArray: Deserialize {
    /// Reads one.
    fn deserialize_array(_parcel: &BorrowedParcel<'_>) -> Result<Option<Vec<Self>>> {
        unimplemented!()
    }
}

/// What can be written as absent.
pub trait SerializeOption: Serialize {
    /// Writes it, or that it is absent.
    fn serialize_option(_this: Option<&Self>, _parcel: &mut BorrowedParcel<'_>) -> Result<()> {
        unimplemented!()
    }
}

/// What can be read as absent.
pub trait DeserializeOption: Deserialize {
    /// Reads it, or that it is absent.
    fn deserialize_option(_parcel: &BorrowedParcel<'_>) -> Result<Option<Self>> {
        unimplemented!()
    }

    /// Reads into it.
    fn deserialize_option_from(_this: &mut Option<Self>, _: &BorrowedParcel<'_>) -> Result<()> {
        unimplemented!()
    }
}

/// Gives types, with their parameters, the traits of values that can be written.
macro_rules! written {
    ($($trait:ident for [$($param:tt)*] $type:ty;)*) => { $(written! { @ $trait [$($param)*] $type })* };
    (@ Serialize [$($param:tt)*] $type:ty) => {
        impl<$($param)*> Serialize for $type {
            fn serialize(&self, _: &mut BorrowedParcel<'_>) -> Result<()> {
                unimplemented!()
            }
        }
    };
    (@ $trait:ident [$($param:tt)*] $type:ty) => {
        impl<$($param)*> $trait for $type {}
    };
}

/// Gives types, with their parameters, the traits of values that can be read. `Deserialize` says
/// with what an element of an array begins.
macro_rules! read {
    ($($trait:ident $(($uninit:ty))? for [$($param:tt)*] $type:ty;)*) => {
        $(read! { @ $trait $(($uninit))? [$($param)*] $type })*
    };
    (@ Deserialize ($uninit:ty) [$($param:tt)*] $type:ty) => {
        impl<$($param)*> Deserialize for $type {
            type UninitType = $uninit;
            fn uninit() -> Self::UninitType {
                unimplemented!()
            }
            fn from_init(_: Self) -> Self::UninitType {
                unimplemented!()
            }
            fn deserialize(_: &BorrowedParcel<'_>) -> Result<Self> {
                unimplemented!()
            }
        }
    };
    (@ $trait:ident [$($param:tt)*] $type:ty) => {
        impl<$($param)*> $trait for $type {}
    };
}

macro_rules! numbers {
    ($($type:ty)*) => { $(
        written! { Serialize for [] $type; SerializeArray for [] $type; }
        read! { Deserialize(Self) for [] $type; DeserializeArray for [] $type; }
    )* };
}

numbers! { bool u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 }

written! {
    Serialize for [] str;
    SerializeOption for [] str;
    SerializeArray for [] &str;
    Serialize for [] String;
    SerializeArray for [] String;
    SerializeOption for [] String;
    Serialize for [] Stability;
    Serialize for [] Status;
    Serialize for [] SpIBinder;
    SerializeArray for [] SpIBinder;
    SerializeOption for [] SpIBinder;
    Serialize for [] ParcelFileDescriptor;
    SerializeArray for [] ParcelFileDescriptor;
    SerializeOption for [] ParcelFileDescriptor;
    Serialize for [B: Remotable] Binder<B>;
    Serialize for [T: Serialize + FromIBinder + ?Sized] Strong<T>;
    SerializeOption for [T: SerializeOption + FromIBinder + ?Sized] Strong<T>;
    SerializeArray for [T: Serialize + FromIBinder + ?Sized] Strong<T>;
    Serialize for [T: SerializeArray] [T];
    SerializeOption for [T: SerializeArray] [T];
    Serialize for [T: SerializeArray] Vec<T>;
    SerializeOption for [T: SerializeArray] Vec<T>;
    Serialize for [T: SerializeArray, const N: usize] [T; N];
    SerializeOption for [T: SerializeArray, const N: usize] [T; N];
    SerializeArray for [T: SerializeArray, const N: usize] [T; N];
    Serialize for [T: Serialize + ?Sized] &T;
    SerializeOption for [T: SerializeOption + ?Sized] &T;
    Serialize for [T: SerializeOption] Option<T>;
    SerializeArray for [T: SerializeOption] Option<T>;
    Serialize for [T: Serialize] Box<T>;
    SerializeOption for [T: SerializeOption] Box<T>;
}

read! {
    Deserialize(Self) for [] String;
    DeserializeArray for [] String;
    Deserialize(Self) for [] Option<String>;
    DeserializeArray for [] Option<String>;
    Deserialize(Self) for [] Stability;
    Deserialize(Option<Self>) for [] Status;
    Deserialize(Option<Self>) for [] SpIBinder;
    DeserializeArray for [] SpIBinder;
    DeserializeOption for [] SpIBinder;
    Deserialize(Option<Self>) for [] ParcelFileDescriptor;
    DeserializeArray for [] ParcelFileDescriptor;
    DeserializeOption for [] ParcelFileDescriptor;
    Deserialize(Option<Self>) for [T: FromIBinder + ?Sized] Strong<T>;
    DeserializeArray for [T: FromIBinder + ?Sized] Strong<T>;
    DeserializeOption for [T: FromIBinder + ?Sized] Strong<T>;
    Deserialize(Self) for [T: DeserializeArray] Vec<T>;
    DeserializeOption for [T: DeserializeArray] Vec<T>;
    Deserialize([T::UninitType; N]) for [T: DeserializeArray, const N: usize] [T; N];
    DeserializeOption for [T: DeserializeArray, const N: usize] [T; N];
    DeserializeArray for [T: DeserializeArray, const N: usize] [T; N];
    Deserialize(Self) for [T: DeserializeOption] Option<T>;
    DeserializeArray for [T: DeserializeOption] Option<T>;
    Deserialize(Option<Self>) for [T: Deserialize] Box<T>;
    DeserializeOption for [T: DeserializeOption] Box<T>;
}

/// Lets a generated parcelable be written.
#[macro_export]
macro_rules! impl_serialize_for_parcelable {
    ($parcelable:ident) => {
        impl $crate::binder_impl::Serialize for $parcelable
        where
            $parcelable: $crate::Parcelable,
        {
            fn serialize(
                &self,
                _: &mut $crate::binder_impl::BorrowedParcel<'_>,
            ) -> std::result::Result<(), $crate::StatusCode> {
                unimplemented!()
            }
        }

        impl $crate::binder_impl::SerializeArray for $parcelable {}

        impl $crate::binder_impl::SerializeOption for $parcelable {}
    };
}

/// Lets a generated parcelable be read.
#[macro_export]
macro_rules! impl_deserialize_for_parcelable {
    ($parcelable:ident) => {
        impl $crate::binder_impl::Deserialize for $parcelable
        where
            $parcelable: $crate::Parcelable + Default,
        {
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

        impl $crate::binder_impl::DeserializeArray for $parcelable {}

        impl $crate::binder_impl::DeserializeOption for $parcelable {}
    };
}
