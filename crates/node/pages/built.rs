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
        path: "/assets/consent-C6LpvT92.js",
        bytes: include_bytes!("assets/consent-C6LpvT92.js"),
    },
    Built {
        path: "/assets/console-uJybxw3Y.js",
        bytes: include_bytes!("assets/console-uJybxw3Y.js"),
    },
    Built {
        path: "/assets/docs-hT3RC3f1.js",
        bytes: include_bytes!("assets/docs-hT3RC3f1.js"),
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
        path: "/assets/words-CaMjp66d.js",
        bytes: include_bytes!("assets/words-CaMjp66d.js"),
    },
];
