// Made by `npm run build` in web/. Do not edit: `web/check` compares.
const BUILT: [Built; 10] = [
    Built {
        path: "/consent",
        bytes: include_bytes!("consent.html"),
    },
    Built {
        path: "/console",
        bytes: include_bytes!("console.html"),
    },
    Built {
        path: "/docs",
        bytes: include_bytes!("docs.html"),
    },
    Built {
        path: "/assets/consent-DJq06FKL.js",
        bytes: include_bytes!("assets/consent-DJq06FKL.js"),
    },
    Built {
        path: "/assets/console-awtEHrKz.js",
        bytes: include_bytes!("assets/console-awtEHrKz.js"),
    },
    Built {
        path: "/assets/docs-D6ptkLw-.js",
        bytes: include_bytes!("assets/docs-D6ptkLw-.js"),
    },
    Built {
        path: "/assets/dom-D1lj4eHR.js",
        bytes: include_bytes!("assets/dom-D1lj4eHR.js"),
    },
    Built {
        path: "/assets/dom-TZRFulWb.css",
        bytes: include_bytes!("assets/dom-TZRFulWb.css"),
    },
    Built {
        path: "/assets/icon-DOS8cbsp.svg",
        bytes: include_bytes!("assets/icon-DOS8cbsp.svg"),
    },
    Built {
        path: "/assets/words-lzIurLnc.js",
        bytes: include_bytes!("assets/words-lzIurLnc.js"),
    },
];
