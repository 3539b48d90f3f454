package vendor.buffersync;
@VintfStability parcelable LockReply {
  long token;
  long[] grant;
  @nullable ParcelFileDescriptor acquireFence;
}
