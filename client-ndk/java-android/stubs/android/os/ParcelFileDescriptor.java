/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package android.os;

/** Stand-in: see the folder's README. */
public final class ParcelFileDescriptor {
    private int fd;

    private ParcelFileDescriptor(int fd) {
        this.fd = fd;
    }

    /**
     * Takes a descriptor over.
     *
     * @param fd the descriptor
     * @return its owner
     */
    public static ParcelFileDescriptor adoptFd(int fd) {
        return new ParcelFileDescriptor(fd);
    }

    /**
     * The descriptor, which stays this object's.
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
