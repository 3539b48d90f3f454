/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.io.FileDescriptor;
import java.util.Objects;

/**
 * The descriptors of a dma-buf, or of a native handle. At least one of them is a dma-buf or a memfd;
 * others, for example of metadata, are skipped. On Android, {@code AndroidBuffers} makes a source from
 * a {@code HardwareBuffer} or a {@code ParcelFileDescriptor}.
 *
 * <p>The caller keeps the descriptors. They must be open when the source is used, and a call that uses
 * it keeps none.
 */
public abstract class BufferSource {
    BufferSource() {}

    /** By number. Whoever has them must be reachable until the call is over. */
    abstract int[] rawFds() throws BufferSyncException;

    /**
     * Makes a source from descriptors of this process.
     *
     * @param descriptors for example {@code FileInputStream.getFD()}
     * @return a source that refers to these objects
     */
    public static BufferSource of(FileDescriptor... descriptors) {
        FileDescriptor[] copy = descriptors.clone();
        for (FileDescriptor descriptor : copy) {
            Objects.requireNonNull(descriptor);
        }
        return new BufferSource() {
            @Override
            int[] rawFds() throws BufferSyncException {
                int[] fds = new int[copy.length];
                for (int at = 0; at < copy.length; at++) {
                    fds[at] = Native.getFd(copy[at]);
                }
                return fds;
            }
        };
    }

    /**
     * Makes a source from descriptors that are numbers, as native code has them.
     *
     * @param fds file descriptors of this process
     * @return the source
     */
    public static BufferSource ofRawFd(int... fds) {
        int[] copy = fds.clone();
        return new BufferSource() {
            @Override
            int[] rawFds() {
                return copy;
            }
        };
    }
}
