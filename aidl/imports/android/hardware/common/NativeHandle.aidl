// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package android.hardware.common;

/**
 * What AOSP's android.hardware.common-V2 declares, for checks outside Android's tree. It is frozen
 * there, so it stays as it is. Soong takes the real one.
 */
@VintfStability
parcelable NativeHandle {
    ParcelFileDescriptor[] fds;
    int[] ints;
}
