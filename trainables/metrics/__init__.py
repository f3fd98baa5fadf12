"""What a result is worth: PSNR, SSIM and their spectral, perceptual and consistency companions."""
