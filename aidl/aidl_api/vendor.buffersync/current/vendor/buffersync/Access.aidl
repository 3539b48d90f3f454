package vendor.buffersync;
@VintfStability @Backing(type="int") enum Access {
  READ = 0x1,
  WRITE = 0x2,
  DMA_READ = 0x5,
  DMA_WRITE = 0x6,
}
