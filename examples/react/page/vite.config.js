// React's JSX, without the plugin that reloads components in place.
export default { esbuild: { jsx: 'automatic' } }
