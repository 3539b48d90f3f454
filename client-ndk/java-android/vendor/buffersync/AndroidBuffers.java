/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import android.hardware.HardwareBuffer;
import android.os.ParcelFileDescriptor;
import java.util.Objects;

/** Android's own classes as what the others of this package take. */
public final class AndroidBuffers {
    private AndroidBuffers() {}

    /**
     * The dma-bufs of a hardware buffer, as an {@code ImageReader} or a codec hands it out.
     *
     * @param buffer to be open when the source is used; it stays the caller's
     * @return a source that keeps the object, and answers {@link ErrorCode#UNSUPPORTED} where the
     *     platform does not let this process see the descriptors
     */
    public static BufferSource of(HardwareBuffer buffer) {
        Objects.requireNonNull(buffer);
        return () -> {
            if (buffer.isClosed()) {
                throw new BufferSyncException(ErrorCode.BAD_FD, "the HardwareBuffer is closed");
            }
            return Native.hardwareBufferFds(buffer);
        };
    }

    /**
     * A dma-buf.
     *
     * @param fd to be open when the source is used; it stays the caller's
     * @return a source that keeps the object
     */
    public static BufferSource of(ParcelFileDescriptor fd) {
        Objects.requireNonNull(fd);
        return () -> new int[] {fd.getFd()};
    }

    /**
     * A sync_file that came as a parcel.
     *
     * @param fd taken: it is closed with this
     * @return the fence
     */
    public static Fence fence(ParcelFileDescriptor fd) {
        return Fence.adoptFd(fd.detachFd());
    }

    /**
     * A sync_file that is to be sent.
     *
     * @param fence taken: it is closed with this
     * @return the descriptor, which is the caller's to close
     */
    public static ParcelFileDescriptor toParcelFileDescriptor(Fence fence) {
        return ParcelFileDescriptor.adoptFd(fence.detachFd());
    }
}
