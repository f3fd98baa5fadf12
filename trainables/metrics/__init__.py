"""Image quality metrics: PSNR, SSIM and their spectral, perceptual and consistency companions."""
