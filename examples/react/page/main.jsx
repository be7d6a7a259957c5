import Uppy from '@uppy/core'
import Dashboard from '@uppy/react/dashboard'
import Tus from '@uppy/tus'
import { useState } from 'react'
import { createRoot } from 'react-dom/client'

import '@uppy/core/css/style.min.css'
import '@uppy/dashboard/css/style.min.css'

function Uploads() {
  const [finished, setFinished] = useState([])
  // Made once, not at each rendering.
  const [uppy] = useState(() =>
    new Uppy()
      // Interrupted uploads are tried again, and resume after a reload when the same file is chosen.
      .use(Tus, { endpoint: '/files', retryDelays: [0, 1000, 3000, 5000, 10000] })
      .on('upload-success', (file, { uploadURL }) => setFinished((all) => [...all, { name: file.name, url: uploadURL }])),
  )
  return (
    <main>
      <Dashboard uppy={uppy} />
      <ul>
        {finished.map(({ name, url }) => (
          <li key={url} data-url={url}>
            {name}
          </li>
        ))}
      </ul>
    </main>
  )
}

createRoot(document.getElementById('root')).render(<Uploads />)
