package vendor.buffersync;
@VintfStability parcelable LockReply {
  vendor.buffersync.LockStatus status = vendor.buffersync.LockStatus.QUEUED;
  long token;
  long deadlineNs;
  long[] buffers;
  @nullable ParcelFileDescriptor acquireFence;
}
