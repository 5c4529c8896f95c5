import { defineConfig } from "vite";

export default defineConfig({
  base: "./", // so that a proxy may serve a member under a path of its own
  build: {
    target: "es2022",
    assetsInlineLimit: 0, // the Content-Security-Policy allows no data: but images
    modulePreload: { polyfill: false }, // one chunk; a polyfill would be an inline script
    reportCompressedSize: false,
  },
});
