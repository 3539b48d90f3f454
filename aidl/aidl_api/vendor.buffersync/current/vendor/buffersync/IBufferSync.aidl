// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0
///////////////////////////////////////////////////////////////////////////////
// THIS FILE IS IMMUTABLE. DO NOT EDIT IN ANY CASE.                          //
///////////////////////////////////////////////////////////////////////////////

// This file is a snapshot of an AIDL file. Do not edit it manually. There are
// two cases:
// 1). this is a frozen version file - do not edit this in any case.
// 2). this is a 'current' file. If you make a backwards compatible change to
//     the interface (from the latest frozen version), the build system will
//     prompt you to update this file with `m <name>-update-api`.
//
// You must not make a backward incompatible change to any AIDL file built
// with the aidl_interface module type with versions property set. The module
// type is used to build AIDL files in a way that they can be used across
// independently updatable components of the system. If a device is shipped
// with such a backward incompatible change, it has a high risk of breaking
// later when a module using the interface is updated, e.g., Mainline modules.

package vendor.buffersync;
@VintfStability
interface IBufferSync {
  vendor.buffersync.Capabilities getCapabilities();
  vendor.buffersync.OpenedGroup openGroup(in @utf8InCpp String name, in vendor.buffersync.GroupOptions options);
  const int ERROR_NOT_DMABUF = 1;
  const int ERROR_QUOTA = 2;
  const int ERROR_UNKNOWN_BUFFER = 3;
  const int ERROR_BUSY = 4;
  const int ERROR_EMPTY_GROUP = 5;
  const int ERROR_ALREADY_LOCKED = 6;
  const int ERROR_WOULD_BLOCK = 7;
  const int ERROR_NOT_QUEUED = 8;
  const int ERROR_BAD_LOCK = 9;
  const int ERROR_EVICTED = 10;
  const int ERROR_CLOSED = 11;
  const int ERROR_BAD_FENCE = 12;
  const int ERROR_EVENTS_UNREAD = 13;
  const int ERROR_ACCESS_CONFLICT = 14;
  const int ERROR_NO_RESOURCES = 15;
  const int ERROR_DEADLOCK = 16;
  const int ERROR_UNSUPPORTED = 17;
  const int ERROR_ENDED = 18;
  const int MAX_NAME_BYTES = 64;
}
