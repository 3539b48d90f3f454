/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package android.os;

/** A stand-in: see the README of stubs. */
public final class ParcelFileDescriptor {
    private int fd;

    private ParcelFileDescriptor(int fd) {
        this.fd = fd;
    }

    /**
     * Takes over a descriptor.
     *
     * @param fd the descriptor
     * @return its owner
     */
    public static ParcelFileDescriptor adoptFd(int fd) {
        return new ParcelFileDescriptor(fd);
    }

    /**
     * The descriptor, which this object keeps.
     *
     * @return its number
     */
    public int getFd() {
        return fd;
    }

    /**
     * Gives the descriptor away.
     *
     * @return its number
     */
    public int detachFd() {
        int detached = fd;
        fd = -1;
        return detached;
    }
}
