// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package android.hardware.common;

/**
 * A copy from AOSP's android.hardware.common-V2, for checks outside Android's tree. It is frozen there,
 * so it does not change. Soong uses the original.
 */
@VintfStability
parcelable NativeHandle {
    ParcelFileDescriptor[] fds;
    int[] ints;
}
