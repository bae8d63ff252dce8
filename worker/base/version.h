/* The one place of the version: --version, the User-Agent, the build_info metric. */
#ifndef STUDY_BASE_VERSION_H
#define STUDY_BASE_VERSION_H

#define STUDY_VERSION "0.1.0"

#endif
