// React's JSX, without the plugin that reloads components in place.
export default {
  esbuild: { jsx: 'automatic' },
  // For `npm run dev`: the page comes from vite, and the uploads go to the example's server.
  server: { proxy: { '/files': `http://${process.env.TUS_ADDR || '127.0.0.1:8080'}` } },
}
